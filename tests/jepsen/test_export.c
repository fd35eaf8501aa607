/* Exports: known bytes, and parse(export(h)) is what the format can say of h, for histories of a reference
 * object. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "export.h"
#include "reference.h"
#include "rows.h"

static const char registers[] =
    "0 invoke write @7 1; 1 invoke read @7; 2 invoke cas @8 [0,1]; 0 info write @7 1; "
    "1 ok read @7 0; 2 fail cas @8 [0,1]; 1 invoke read @7";
static const char skew[] =
    "0 invoke txn [[\"append\",3,1],[\"r\",4,null]]; 0 ok txn [[\"append\",3,1],[\"r\",4,[]]]";

static const struct {
    enum export_format format;
    const char *text;
    size_t key;
    const char *bytes;
} golden[] = {
    {EXPORT_KNOSSOS, registers, 0,
     "{:index 0, :time 0, :process 9007199254740992, :type :invoke, :f :write, :value 0}\n"
     "{:index 1, :time 0, :process 9007199254740992, :type :ok, :f :write, :value 0}\n"
     "{:index 2, :time 1, :process 0, :type :invoke, :f :write, :value 1}\n"
     "{:index 3, :time 2, :process 1, :type :invoke, :f :read, :value nil}\n"
     "{:index 4, :time 4, :process 0, :type :info, :f :write, :value 1}\n"
     "{:index 5, :time 5, :process 1, :type :ok, :f :read, :value 0}\n"
     "{:index 6, :time 7, :process 1, :type :invoke, :f :read, :value nil}\n"},
    {EXPORT_PORCUPINE, registers, 1,
     "INFO  jepsen.util - 9007199254740992\t:invoke\t:write\t0\n"
     "INFO  jepsen.util - 9007199254740992\t:ok\t:write\t0\n"
     "INFO  jepsen.util - 2\t:invoke\t:cas\t[0 1]\nINFO  jepsen.util - 2\t:fail\t:cas\t[0 1]\n"},
    {EXPORT_PORCUPINE, "0 invoke read; 0 info read; 1 invoke write 3; 1 info write 3", 0,
     "INFO  jepsen.util - 9007199254740992\t:invoke\t:write\t0\n"
     "INFO  jepsen.util - 9007199254740992\t:ok\t:write\t0\n"
     "INFO  jepsen.util - 0\t:invoke\t:read\tnil\nINFO  jepsen.util - 0\t:fail\t:read\t:timed-out\n"
     "INFO  jepsen.util - 1\t:invoke\t:write\t3\n"},
    /* versions are left out; a failed write, and a failed cas that found what it wanted, did not happen */
    {EXPORT_PORCUPINE,
     "0 invoke write 3; 0 ok write [3,7]; 1 invoke read; 1 ok read [3,7]; 1 invoke write 4; 1 fail write 4",
     0,
     "INFO  jepsen.util - 9007199254740992\t:invoke\t:write\t0\n"
     "INFO  jepsen.util - 9007199254740992\t:ok\t:write\t0\n"
     "INFO  jepsen.util - 0\t:invoke\t:write\t3\nINFO  jepsen.util - 0\t:ok\t:write\t3\n"
     "INFO  jepsen.util - 1\t:invoke\t:read\tnil\nINFO  jepsen.util - 1\t:ok\t:read\t3\n"},
    {EXPORT_KNOSSOS, "0 invoke acquire; 0 ok acquire", 0,
     "{:index 0, :time 1, :process 0, :type :invoke, :f :acquire, :value nil}\n"
     "{:index 1, :time 2, :process 0, :type :ok, :f :acquire, :value nil}\n"},
    {EXPORT_ELLE_EDN, skew, SIZE_MAX,
     "{:index 0, :time 1, :process 0, :type :invoke, :f :txn, :value [[:append 3 1] [:r 4 nil]]}\n"
     "{:index 1, :time 2, :process 0, :type :ok, :f :txn, :value [[:append 3 1] [:r 4 []]]}\n"},
    {EXPORT_ELLE_JSON, skew, SIZE_MAX,
     "[{\"index\":0,\"time\":1,\"process\":0,\"type\":\"invoke\",\"f\":\"txn\",\"value\":[[\"append\",3,1],["
     "\"r\",4,null]]},\n"
     " {\"index\":1,\"time\":2,\"process\":0,\"type\":\"ok\",\"f\":\"txn\",\"value\":[[\"append\",3,1],["
     "\"r\",4,[]]]}]\n"},
    {EXPORT_CSV, "0 invoke write @7 [1,\"x\"]", SIZE_MAX,
     "index,time,process,type,f,key,value,node,error\n0,1,0,invoke,write,\"7\",\"[1,\"\"x\"\"]\","
     "\"\"\"\"\"\",\"\"\"\"\"\"\n"},
};

static char *export(const struct history *h, enum export_format format, size_t key, struct history *normal)
{
    char *text = NULL, err[160];
    size_t size;
    FILE *out = open_memstream(&text, &size);
    assert_int_equal(history_normalise(h, format, key, normal), 0);
    if (export_write(out, normal, format, err, sizeof err) != 0)
        fail_msg("%s: %s", export_name(format), err);
    fclose(out);
    return text;
}

static void the_bytes_are_known(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof golden / sizeof golden[0]; i++) {
        struct history h, normal;
        rows_parse(golden[i].text, &h);
        for (size_t e = 0; e < h.n && golden[i].format != EXPORT_PORCUPINE; e++)
            h.ops[e].error[0] = '\0'; /* they would be in the bytes */
        char *text = export(&h, golden[i].format, golden[i].key, &normal);
        assert_string_equal(text, golden[i].bytes);
        free(text);
        history_close(&normal);
        history_close(&h);
    }
}

static void same(const struct history *a, const struct history *b, enum export_format format)
{
    assert_int_equal(a->n, b->n);
    for (size_t i = 0; i < a->n; i++) {
        const struct op *x = &a->ops[i], *y = &b->ops[i];
        bool values =
            x->value == y->value || (x->value != NULL && y->value != NULL && json_equal(x->value, y->value));
        if (x->index != y->index || x->time_ns != y->time_ns || x->process != y->process ||
            x->type != y->type || strcmp(x->f, y->f) != 0 || strcmp(x->error, y->error) != 0 || !values)
            fail_msg("%s: event %zu differs", export_name(format), i);
    }
}

static void what_is_exported_reads_back(void **state)
{
    (void)state;
    static const struct {
        enum export_format format;
        const struct reference_object *object;
    } all[] = {{EXPORT_KNOSSOS, &reference_cas},         {EXPORT_PORCUPINE, &reference_cas},
               {EXPORT_KNOSSOS, &reference_mutex},       {EXPORT_KNOSSOS, &reference_versioned},
               {EXPORT_PORCUPINE, &reference_versioned}, {EXPORT_ELLE_EDN, &reference_append},
               {EXPORT_ELLE_JSON, &reference_append}};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        for (uint64_t seed = 1; seed <= 20; seed++) {
            struct reference ref = {.object = all[i].object,
                                    .random = {seed},
                                    .clients = 4,
                                    .operations = 120,
                                    .keys = 3,
                                    .values = 4,
                                    .info_percent = 5,
                                    .read_percent = 40};
            struct history h;
            history_init(&h);
            reference_run(&ref, &h);
            history_add_op(&h, h.ops[h.n - 1].time_ns, PROCESS_NEMESIS, OP_INFO, "kill", NULL, NULL);
            bool per_key = export_per_key(all[i].format);
            size_t parts = per_key ? history_keys(&h) : 1;
            for (size_t part = 0; part < parts; part++) {
                struct history normal, again;
                char err[160];
                char *text = export(&h, all[i].format, per_key ? part : SIZE_MAX, &normal);
                FILE *in = fmemopen(text, strlen(text), "r");
                history_init(&again);
                if (export_read(in, all[i].format, &again, err, sizeof err) != 0)
                    fail_msg("%s: %s", export_name(all[i].format), err);
                assert_int_equal(history_validate(&again, err, sizeof err), 0);
                same(&normal, &again, all[i].format);
                fclose(in);
                free(text);
                history_close(&again);
                history_close(&normal);
            }
            history_close(&h);
        }
}

static void what_is_no_export_is_refused(void **state)
{
    (void)state;
    static const struct {
        enum export_format format;
        const char *text;
    } all[] = {{EXPORT_KNOSSOS, "{:process 1, :type :invoke"},
               {EXPORT_KNOSSOS, "{:process 1, :type :begun, :f :read}"},
               {EXPORT_KNOSSOS, "[1 2]"},
               {EXPORT_KNOSSOS, "{:process 1 :type :ok :f :read :value 1.5}"},
               {EXPORT_ELLE_JSON, "{}"},
               {EXPORT_ELLE_JSON, "[{\"process\":1}]"},
               {EXPORT_PORCUPINE, "INFO nothing\n"},
               {EXPORT_CSV, "1,2,3"}};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        struct history h;
        char err[160] = "";
        FILE *in = fmemopen((void *)(uintptr_t)all[i].text, strlen(all[i].text), "r");
        history_init(&h);
        assert_int_not_equal(export_read(in, all[i].format, &h, err, sizeof err), 0);
        assert_string_not_equal(err, "");
        fclose(in);
        history_close(&h);
    }
    assert_int_equal(export_find("jpeg"), EXPORT_FORMAT_NR);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_bytes_are_known),
        cmocka_unit_test(what_is_exported_reads_back),
        cmocka_unit_test(what_is_no_export_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
