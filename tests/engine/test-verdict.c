#include <criterion/criterion.h>
#include <string.h>
#include "engine/progress.h"

#define MS 1000000ull

static char *text_of(FerryForecast f) { return ferry_forecast_dup_text(&f, 300 * MS); }

Test(verdict, nothing_is_said_before_something_is_known)
{
    cr_expect_null(text_of((FerryForecast){.outlook = FERRY_OUTLOOK_UNKNOWN}));
}

Test(verdict, says_when_it_will_finish)
{
    g_autofree char *text = text_of((FerryForecast){
        .outlook = FERRY_OUTLOOK_MEETS, .finish_ns = 3100 * MS, .downtime_ns = 180 * MS});
    cr_expect_str_eq(text, "will finish in about 3.1 s with 180 ms downtime");
}

Test(verdict, says_so_when_only_the_limit_is_sure)
{
    g_autofree char *text =
        text_of((FerryForecast){.outlook = FERRY_OUTLOOK_MEETS, .finish_ns = UINT64_MAX});
    cr_expect_str_eq(text, "can meet 300 ms");
}

Test(verdict, says_what_would_help)
{
    g_autofree char *text = text_of((FerryForecast){.outlook = FERRY_OUTLOOK_STALLS,
                                                    .finish_ns = UINT64_MAX,
                                                    .floor_ns = 1200 * MS,
                                                    .throttle_percent = 35,
                                                    .needed_bytes_per_second = 210ull << 20});
    cr_expect_str_eq(text,
                     "cannot meet 300 ms at these write rates: the shortest downtime is about "
                     "1.2 s; choices: a downtime limit of 1.3 s, a link of 210 MiB/s, "
                     "throttling the guest by 35 %, pausing it for longer, or cancelling");
}

Test(verdict, leaves_out_what_would_not)
{
    g_autofree char *text = text_of((FerryForecast){.outlook = FERRY_OUTLOOK_STALLS,
                                                    .floor_ns = 150000 * MS,
                                                    .throttle_percent = 100,
                                                    .needed_bytes_per_second = UINT64_MAX});
    cr_expect(strstr(text, "150 s") && !strstr(text, "throttling") && !strstr(text, "link"), "%s",
              text);
}
