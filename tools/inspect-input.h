/* A file for `ferry inspect`, read forwards: plain, compressed with zstd (told by its magic), or
 * standard input. Places are bytes of the uncompressed content. */
#pragma once
#include <glib.h>
#include <stdint.h>

G_BEGIN_DECLS

typedef struct FerryInspectInput FerryInspectInput;
/* @path "-": standard input. */
FerryInspectInput *ferry_inspect_input_open(const char *path, GError **error);
const char *ferry_inspect_input_name(const FerryInspectInput *input);
gboolean ferry_inspect_input_is_zstd(const FerryInspectInput *input);
/* Bytes in messages count from the place where it is now. */
void ferry_inspect_input_begin_here(FerryInspectInput *input);
uint64_t ferry_inspect_input_place(const FerryInspectInput *input);
/* What lies ahead, at least one byte; *out_n 0 only at the end. Valid until the next call; nothing
 * is consumed. */
gboolean ferry_inspect_input_peek(FerryInspectInput *input, const uint8_t **out_bytes,
                                  size_t *out_n, GError **error);
/* To @place: forwards anywhere, backwards to what the last peek gave. Where the file ends before
 * @place, FERRY_PROTOCOL_ERROR_TRUNCATED says so and names @what. */
gboolean ferry_inspect_input_go(FerryInspectInput *input, uint64_t place, const char *what,
                                GError **error);
/* Exactly @n bytes, or TRUNCATED. */
gboolean ferry_inspect_input_read(FerryInspectInput *input, uint8_t *out, size_t n,
                                  const char *what, GError **error);
void ferry_inspect_input_free(FerryInspectInput *input);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(FerryInspectInput, ferry_inspect_input_free)

G_END_DECLS
