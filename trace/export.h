/* What exporters share. */
#pragma once
#include "trace/convert.h"

G_BEGIN_DECLS

#define FERRY_EXPORT_PIECE 65536u

/* Text that goes to a sink in pieces. */
typedef struct {
    FerryTraceSink sink;
    GString *text;
} FerryExportText;

void ferry_export_text_init(FerryExportText *out, const FerryTraceSink *sink);
void ferry_export_text_clear(FerryExportText *out);
gboolean ferry_export_text_flush(FerryExportText *out, GError **error);

/* When there is enough of it. */
static inline gboolean ferry_export_text_step(FerryExportText *out, GError **error)
{
    return out->text->len < FERRY_EXPORT_PIECE || ferry_export_text_flush(out, error);
}

G_END_DECLS
