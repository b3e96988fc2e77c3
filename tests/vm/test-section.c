#include "tools/vm/section.h"
#include <criterion/criterion.h>
#include <string.h>

static GByteArray *sample(void)
{
    GByteArray *body = g_byte_array_new();

    section_put32(body, 0x01020304);
    section_put64(body, 0x05060708090a0b0c);
    section_put_part(body, "part", 4);
    return body;
}

Test(section, numbers_are_big_endian_and_parts_say_their_length)
{
    static const uint8_t wire[] = "\1\2\3\4\5\6\7\10\11\12\13\14\0\0\0\4part";
    g_autoptr(GByteArray) body = sample();

    cr_assert_eq(body->len, sizeof wire - 1);
    cr_expect_arr_eq(body->data, wire, sizeof wire - 1);
}

static gboolean read_all(const uint8_t *bytes, size_t length)
{
    SectionReader reader = {.at = bytes, .left = length};
    uint32_t small;
    uint64_t large;
    char part[4];

    return section_get32(&reader, "small", &small, NULL) && small == 0x01020304 &&
           section_get64(&reader, "large", &large, NULL) && large == 0x05060708090a0b0c &&
           section_get_part(&reader, "part", part, sizeof part, NULL) &&
           memcmp(part, "part", 4) == 0 && section_end(&reader, NULL);
}

Test(section, reads_what_was_written_and_no_other_length)
{
    g_autoptr(GByteArray) body = sample();

    cr_expect(read_all(body->data, body->len));
    for (guint length = 0; length < body->len; length++) {
        g_autofree uint8_t *cut = g_memdup2(body->data, length);
        cr_expect_not(read_all(cut, length), "%u bytes", length);
    }
    g_byte_array_append(body, (const uint8_t *)"", 1);
    cr_expect_not(read_all(body->data, body->len));
}

Test(section, part_of_another_size_is_refused_by_name)
{
    static const uint8_t huge[] = {0xff, 0xff, 0xff, 0xff, 0};
    SectionReader reader = {.at = huge, .left = sizeof huge};
    g_autoptr(GError) error = NULL;
    char part[16];
    size_t length = 7;

    cr_expect_not(
        section_get_part_up_to(&reader, "registers", part, 1, sizeof part, &length, &error));
    cr_expect_eq(length, 7);
    cr_expect(strstr(error->message, "registers") != NULL, "%s", error->message);
}
