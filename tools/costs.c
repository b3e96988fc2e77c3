#include "tools/costs.h"
#include <json-glib/json-glib.h>
#include <string.h>

#define FILE_MAX (1u << 20)
#define COST_MAX INT64_C(1000000000000) /* ns: a quarter of an hour */

typedef struct {
    const char *member;
    uint64_t *value;
} Member;
#define N_MEMBERS 10u
#define CHUNK (UINT64_C(2) << 20)
#define CHUNK_MAX (UINT64_C(1) << 34)

static void members_of(FerryCosts *c, Member out[static N_MEMBERS])
{
    const Member all[N_MEMBERS] = {
        {"sync_ns",          &c->host.sync_ns                   },
        {"sync_ns_per_gib",  &c->host.sync_ns_per_gib           },
        {"clear_ns",         &c->host.clear_ns                  },
        {"clear_ns_per_gib", &c->clear_ns_per_gib               },
        {"page_ns",          &c->host.page_ns                   },
        {"pause_ns",         &c->host.pause_ns                  },
        {"fixed_ns",         &c->host.fixed_ns                  },
        {"zlib_page_ns",     &c->pack_ns[FERRY_SIM_CODEC_ZLIB]  },
        {"zstd_page_ns",     &c->pack_ns[FERRY_SIM_CODEC_ZSTD]  },
        {"xbzrle_page_ns",   &c->pack_ns[FERRY_SIM_CODEC_XBZRLE]},
    };
    memcpy(out, all, sizeof all);
}

void ferry_costs_clear(FerryCosts *costs) { g_clear_pointer(&costs->machine, g_free); }

static gboolean refuse(const char *path, const char *what, const char *why, GError **error)
{
    g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE, "%s: %s%s", path, what, why);
    return FALSE;
}

static gboolean read_members(JsonObject *from, const char *path, FerryCosts *c, GError **error)
{
    Member members[N_MEMBERS];

    members_of(c, members);
    for (unsigned i = 0; i < N_MEMBERS; i++) {
        JsonNode *node = json_object_get_member(from, members[i].member);
        if (!node) {
            continue;
        }
        if (!JSON_NODE_HOLDS_VALUE(node) || json_node_get_value_type(node) != G_TYPE_INT64 ||
            json_node_get_int(node) < 0 || json_node_get_int(node) > COST_MAX) {
            return refuse(path, members[i].member, " is no integer from 0 to 10^12", error);
        }
        *members[i].value = (uint64_t)json_node_get_int(node);
    }
    return TRUE;
}

gboolean ferry_costs_read(const char *path, FerryCosts *costs, GError **error)
{
    g_autoptr(JsonParser) parser = json_parser_new();
    g_autofree char *text = NULL;
    FerryCosts read = *costs;
    gsize n;

    if (!g_file_test(path, G_FILE_TEST_IS_REGULAR)) {
        return refuse(path, "it is no file", "", error);
    }
    if (!g_file_get_contents(path, &text, &n, error)) {
        return FALSE;
    }
    if (n > FILE_MAX || !json_parser_load_from_data(parser, text, (gssize)n, NULL)) {
        return refuse(path, "it is no JSON", "", error);
    }
    JsonNode *root = json_parser_get_root(parser);
    JsonObject *from = root && JSON_NODE_HOLDS_OBJECT(root) ? json_node_get_object(root) : NULL;
    JsonNode *type = from ? json_object_get_member(from, "type") : NULL;
    if (!type ||
        g_strcmp0(JSON_NODE_HOLDS_VALUE(type) ? json_node_get_string(type) : NULL, "costs") != 0) {
        return refuse(path, "it is no object of type \"costs\"",
                      ", as ferry check --calibrate writes it", error);
    }
    if (!read_members(from, path, &read, error)) {
        return FALSE;
    }
    *costs = read;
    return TRUE;
}

uint64_t ferry_costs_clear_ns(const FerryCosts *costs, uint64_t chunk_bytes)
{
    uint64_t chunk = MIN(chunk_bytes, CHUNK_MAX), ns = costs->host.clear_ns;
    uint64_t apart = chunk > CHUNK ? chunk - CHUNK : CHUNK - chunk;
    uint64_t more = (costs->clear_ns_per_gib * (apart >> 12)) >> 18;

    return chunk > CHUNK ? ns + more : ns - MIN(more, ns);
}

void ferry_costs_add(FerryResultLine *line, const FerryCosts *costs)
{
    FerryCosts copy = *costs;
    Member members[N_MEMBERS];

    members_of(&copy, members);
    ferry_result_line_text(line, "host", costs->machine);
    for (unsigned i = 0; i < N_MEMBERS; i++) {
        if (i < N_MEMBERS - 3 || *members[i].value > 0) { /* codecs that were not measured */
            ferry_result_line_count(line, members[i].member, *members[i].value);
        }
    }
}
