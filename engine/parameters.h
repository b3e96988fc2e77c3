/* What a migration can be told: capabilities and parameters by QEMU's names, units, ranges and
 * defaults, as one plain value. Pure. */
#pragma once
#include "engine/migration.h"

G_BEGIN_DECLS

#define FERRY_SETTING_TEXT_MAX 256 /* with its NUL */

typedef struct {
    /* Capabilities. */
    gboolean return_path; /* use the way back where the medium has one */
    gboolean return_path_asked;
    gboolean events, auto_converge, pause_before_switchover, verify;
    /* How pages travel; both sides must be told of the same multifd and mapped-ram. */
    gboolean multifd, xbzrle, compress, mapped_ram, validate_uuid, switchover_ack;
    /* Parameters; bandwidths are bytes/s, 0 = none or measured. */
    uint64_t max_bandwidth, downtime_limit_ms, avail_switchover_bandwidth;
    uint64_t throttle_trigger_threshold, cpu_throttle_initial, cpu_throttle_increment;
    uint64_t max_cpu_throttle, cpu_throttle_tailslow;
    uint64_t io_timeout_ms;
    uint64_t dirty_chunk_bytes;    /* 0: what suits policy, link and log */
    uint64_t on_stall, on_timeout; /* a FerryOnStall; on_timeout: PAUSE or CANCEL */
    uint64_t timeout_ms;           /* 0: none */
    uint64_t adaptive_compression; /* multifd's: its level is where it begins */
    uint64_t multifd_channels, multifd_zlib_level, multifd_zstd_level;
    uint64_t multifd_compression; /* a FerryMultifdMethod */
    uint64_t zero_pages;          /* a FerryZeroPages */
    uint64_t xbzrle_cache_size;   /* bytes */
    uint64_t compress_level;
    char policy[FERRY_SETTING_TEXT_MAX];
    char record[FERRY_SETTING_TEXT_MAX]; /* path of the handover record, "" = none */
    char fault[FERRY_SETTING_TEXT_MAX];  /* see ferry_fault_parse, "" = none */
} FerrySettings;

void ferry_settings_init(FerrySettings *settings); /* the defaults */
void ferry_settings_get_limits(const FerrySettings *settings, FerryLimits *out_limits);

/* Errors are FERRY_ENGINE_ERROR_REFUSED and name what was refused; @settings is then unchanged. */
gboolean ferry_settings_set_capability(FerrySettings *settings, const char *name, gboolean on,
                                       GError **error);
/* What must hold between capabilities; to be asked after the last of several was set. */
gboolean ferry_settings_check_capabilities(const FerrySettings *settings, GError **error);
/* Whether this medium can carry what the capabilities ask for. */
gboolean ferry_settings_check_address(const FerrySettings *settings, const FerryAddress *address,
                                      GError **error);
/* FALSE behind the last. */
gboolean ferry_settings_nth_capability(const FerrySettings *settings, unsigned index,
                                       const char **out_name, gboolean *out_on);
/* @running: only limits may change. */
gboolean ferry_settings_set_parameter(FerrySettings *settings, const char *name, uint64_t number,
                                      const char *text, gboolean running, GError **error);
/* What must hold between parameters; to be asked after the last of several was set. */
gboolean ferry_settings_check(const FerrySettings *settings, GError **error);
/* FALSE behind the last that is listed. */
gboolean ferry_settings_nth_parameter(const FerrySettings *settings, unsigned index,
                                      FerryParameter *out_parameter);
/* The type of a parameter, also of those that QEMU had once and that are not listed. */
gboolean ferry_parameter_type(const char *name, FerryParameterType *out_type);

/* A test aid: "KIND,DIRECTION,POSITION" with KIND cut, stall, black-hole, flip or short, DIRECTION
 * read or write, POSITION in bytes. */
gboolean ferry_fault_parse(const char *text, FerryFault *out_fault, GError **error);

G_END_DECLS
