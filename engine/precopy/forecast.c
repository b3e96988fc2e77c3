#include "engine/precopy/forecast.h"

const char *ferry_outlook_name(FerryOutlook outlook)
{
    static const char *const names[FERRY_N_OUTLOOKS] = {
        [FERRY_OUTLOOK_UNKNOWN] = "unknown",
        [FERRY_OUTLOOK_MEETS] = "meets",
        [FERRY_OUTLOOK_STALLS] = "stalls",
    };
    return outlook < FERRY_N_OUTLOOKS ? names[outlook] : "unknown";
}

double ferry_forecast_floor_pages(const FerryCensus *census, double pages_per_second, double speed)
{
    double left = pages_per_second, dirty = 0;

    for (unsigned i = 0; i < FERRY_HEAT_CLASSES; i++) { /* coldest first */
        double rate = census->writes_per_second[i] * speed, pages = (double)census->pages[i];
        double kept = rate > 0 ? MIN(pages, left / rate) : pages;
        left -= kept * rate;
        dirty += pages - kept;
    }
    return dirty;
}

FerryForecast ferry_forecast(const FerryCensus *census, const FerryForecastInput *input)
{
    (void)census;
    (void)input;
    return (FerryForecast){.outlook = FERRY_OUTLOOK_UNKNOWN,
                           .finish_ns = UINT64_MAX,
                           .downtime_ns = UINT64_MAX,
                           .needed_bytes_per_second = UINT64_MAX};
}
