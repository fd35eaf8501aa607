/* The cover of a back-up: golden bytes, and damage that shows. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "backup.h"
#include "raftlog.h"

static const struct raftlog_snapshot image = {.index = 0x0102030405060708,
                                              .term = 9,
                                              .size = 0x1122334455,
                                              .digest = 0xfedcba9876543210,
                                              .crc = 0xa1b2c3d4};

static void the_cover_is_these_bytes(void **state)
{
    static const uint8_t head[60] = {'A',  'S',  'S',  'E',  'N',  'T',  'B',  'K',  /* magic */
                                     1,    0,    0,    0,    0xd4, 0xc3, 0xb2, 0xa1, /* format, CRC */
                                     8,    7,    6,    5,    4,    3,    2,    1,    /* index */
                                     9,    0,    0,    0,    0,    0,    0,    0,    /* term */
                                     0x55, 0x44, 0x33, 0x22, 0x11, 0,    0,    0,    /* size */
                                     0x10, 0x32, 0x54, 0x76, 0x98, 0xba, 0xdc, 0xfe, /* digest */
                                     0xee, 0xff, 0xc0, 0,    0,    0,    0,    0,    /* cluster */ 0,
                                     0,    0,    0 /* zero */};
    uint8_t cover[BACKUP_COVER_BYTES];
    (void)state;
    backup_cover_encode(&image, 0xc0ffee, cover);
    assert_memory_equal(cover, head, sizeof head);
}

static void what_was_encoded_is_decoded(void **state)
{
    uint8_t cover[BACKUP_COVER_BYTES];
    struct raftlog_snapshot out;
    uint64_t cluster_id;
    (void)state;
    backup_cover_encode(&image, 0xc0ffee, cover);
    assert_true(backup_cover_decode(cover, &out, &cluster_id));
    assert_int_equal(cluster_id, 0xc0ffee);
    assert_int_equal(out.index, image.index);
    assert_int_equal(out.term, image.term);
    assert_int_equal(out.size, image.size);
    assert_int_equal(out.digest, image.digest);
    assert_int_equal(out.crc, image.crc);
}

static void every_flipped_bit_is_noticed(void **state)
{
    uint8_t cover[BACKUP_COVER_BYTES];
    struct raftlog_snapshot out;
    uint64_t cluster_id;
    (void)state;
    backup_cover_encode(&image, 0xc0ffee, cover);
    for (size_t bit = 0; bit < 8 * sizeof cover; bit++) {
        cover[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_false(backup_cover_decode(cover, &out, &cluster_id));
        cover[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_cover_is_these_bytes),
        cmocka_unit_test(what_was_encoded_is_decoded),
        cmocka_unit_test(every_flipped_bit_is_noticed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
