/* The guard on Redis by hiredis: rows are keys, and guard and effect are one script.
 *
 * Repetition is looked for before the effect is tried: a debit that emptied an account and is repeated is a
 * duplicate, not "balance too low". */
#include <hiredis/hiredis.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "assent/guard.h"

/* KEYS: own row, origin's row, the caller's key.  ARGV: "1" if there is an origin, ttl, the caller's
 * argument, own mark.  An undo without its forward call leaves both rows, so that the forward call finds
 * `rollback`. */
static const char script_head[] = "local own = redis.call('GET', KEYS[1])\n"
                                  "if own == 'rollback' then return 'LATE' end\n"
                                  "if own then return 'DUPLICATE' end\n"
                                  "if ARGV[1] == '1' and redis.call('EXISTS', KEYS[2]) == 0 then\n"
                                  "  redis.call('SET', KEYS[1], ARGV[4], 'EX', ARGV[2])\n"
                                  "  redis.call('SET', KEYS[2], 'rollback', 'EX', ARGV[2])\n"
                                  "  return 'EMPTY'\n"
                                  "end\n"
                                  "local function effect(key, arg)\n";
static const char script_tail[] = "\nend\n"
                                  "local said = effect(KEYS[3], ARGV[3])\n"
                                  "if said == 'FAILURE' then return 'REFUSED' end\n"
                                  "redis.call('SET', KEYS[1], ARGV[4], 'EX', ARGV[2])\n"
                                  "return 'RUN'\n";
/* Lua's numbers are doubles: above 2^53 the sum is Redis's own, and taken back if it fell below zero. */
static const char adjust_body[] = "if redis.call('EXISTS', key) == 0 then return 'FAILURE' end\n"
                                  "local sum = redis.call('INCRBY', key, arg)\n"
                                  "if sum < 0 then\n"
                                  "  redis.call('DECRBY', key, arg)\n"
                                  "  return 'FAILURE'\n"
                                  "end\n";
static const char prepared_script[] = "local own = redis.call('GET', KEYS[1])\n"
                                      "if not own then\n"
                                      "  redis.call('SET', KEYS[1], 'rollback', 'EX', ARGV[1])\n"
                                      "  own = 'rollback'\n"
                                      "end\n"
                                      "if own == 'rollback' then return 'ABORTED' end\n"
                                      "return 'COMMITTED'\n";

/* The guard row.  KEYS: the row, the caller's key.  ARGV: class (0 try, 1 confirm, 2 cancel), token, ttl (0:
 * none), the caller's argument, then what the call means to a row in state 1, 2, 3, 4.  Tokens are compared
 * as decimal texts: Lua's numbers end at 2^53. */
static const char branch_head[] =
    "local row = redis.call('HMGET', KEYS[1], 'state', 'token')\n"
    "local state, seen = row[1], row[2] or '0'\n"
    "local function older(a, b) return #a < #b or (#a == #b and a < b) end\n"
    "local function put(s)\n"
    "  redis.call('HSET', KEYS[1], 'state', s, 'token', older(seen, ARGV[2]) and ARGV[2] or seen)\n"
    "  if ARGV[3] ~= '0' then redis.call('EXPIRE', KEYS[1], ARGV[3]) end\n"
    "end\n"
    "if not state and ARGV[1] == '1' then return 'NO_TRY' end\n"
    "if not state and ARGV[1] == '2' then put('4') return 'EMPTY' end\n"
    "if state and ARGV[2] ~= '0' and older(ARGV[2], seen) then return 'STALE' end\n"
    "local means = 'RUN'\n"
    "if state then means = ARGV[4 + (tonumber(state) or 9)] end\n"
    "if not means then return 'CORRUPT' end\n"
    "if means ~= 'RUN' then put(state) return means end\n"
    "local function effect(key, arg)\n";
static const char branch_tail[] = "\nend\n"
                                  "local said = effect(KEYS[2], ARGV[4])\n"
                                  "if said == 'FAILURE' then return 'REFUSED' end\n"
                                  "put(tostring(tonumber(ARGV[1]) + 1))\n"
                                  "return 'RUN'\n";
static const char outcome_script[] = "local state = redis.call('HGET', KEYS[1], 'state')\n"
                                     "if not state then\n"
                                     "  redis.call('HSET', KEYS[1], 'state', '4', 'token', '0')\n"
                                     "  if ARGV[1] ~= '0' then redis.call('EXPIRE', KEYS[1], ARGV[1]) end\n"
                                     "  state = '4'\n"
                                     "end\n"
                                     "if state == '1' or state == '2' then return 'COMMITTED' end\n"
                                     "return 'ABORTED'\n";

/* First words of Redis's error replies. */
static const struct {
    const char *word;
    int code;
} words[] = {
    {"LOADING", ASSENT_BUSY},          {"BUSY", ASSENT_BUSY},        {"TRYAGAIN", ASSENT_BUSY},
    {"CLUSTERDOWN", ASSENT_BUSY},      {"MASTERDOWN", ASSENT_BUSY},  {"NOREPLICAS", ASSENT_BUSY},
    {"READONLY", ASSENT_NOT_LEADER},   {"MOVED", ASSENT_NOT_LEADER}, {"ASK", ASSENT_NOT_LEADER},
    {"CROSSSLOT", ASSENT_UNSUPPORTED}, {"NOAUTH", ASSENT_FOREIGN},   {"NOPERM", ASSENT_FOREIGN},
    {"WRONGPASS", ASSENT_FOREIGN},     {"OOM", ASSENT_NO_SPACE},     {"MISCONF", ASSENT_IO},
    {"WRONGTYPE", ASSENT_CONFLICT},    {"ERR", ASSENT_INVALID},
};

static int error_of(const char *text, struct assent_guard_result *result)
{
    snprintf(result->detail, sizeof result->detail, "%s", text);
    size_t n = strcspn(text, " ");
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (n == strlen(words[i].word) && memcmp(text, words[i].word, n) == 0)
            return words[i].code;
    }
    return ASSENT_IO; /* the text itself is in the result */
}

/* A script that was sent and not answered may have run. */
static int lost(const redisContext *redis, int when_io, struct assent_guard_result *result)
{
    result->native = redis->err;
    snprintf(result->detail, sizeof result->detail, "%s", redis->errstr);
    switch (redis->err) {
    case REDIS_ERR_OOM:
        return ASSENT_NOMEM;
    case REDIS_ERR_PROTOCOL:
        return ASSENT_PROTOCOL;
    default: /* REDIS_ERR_IO, EOF, TIMEOUT, OTHER: the connection is of no use any more */
        return when_io;
    }
}

/* Run a script and give its word.  ASSENT_OK: `word` is what the script returned. */
static int eval(redisContext *redis, int argc, const char **argv, char word[16],
                struct assent_guard_result *result)
{
    if (redis->err != 0)
        return lost(redis, ASSENT_UNREACHABLE, result);
    redisReply *reply = redisCommandArgv(redis, argc, argv, NULL);
    if (reply == NULL)
        return lost(redis, ASSENT_UNKNOWN_OUTCOME, result);
    int rc = ASSENT_OK;
    if (reply->type == REDIS_REPLY_ERROR)
        rc = error_of(reply->str, result);
    else if (reply->type != REDIS_REPLY_STRING && reply->type != REDIS_REPLY_STATUS)
        rc = ASSENT_PROTOCOL;
    else
        snprintf(word, 16, "%s", reply->str);
    freeReplyObject(reply);
    return rc;
}

#define KEY_BYTES (2 * (ASSENT_GUARD_ID_BYTES_MAX + 1) + 2 * (ASSENT_GUARD_WORD_BYTES_MAX + 1) + 16)
static void key_make(char to[KEY_BYTES], const struct assent_guard_call *call, const char *op, unsigned use)
{
    snprintf(to, KEY_BYTES, "%s-%s-%s-%02u", call->gid, call->branch, op, use);
}

static int verdict_of(const char *word, struct assent_guard_result *result)
{
    for (int v = ASSENT_GUARD_RUN; v <= ASSENT_GUARD_REFUSED; v++) {
        if (strcmp(word, assent_guard_verdict_name((enum assent_guard_verdict)v)) == 0) {
            result->verdict = (enum assent_guard_verdict)v;
            return ASSENT_OK;
        }
    }
    snprintf(result->detail, sizeof result->detail, "the script said %s", word);
    return ASSENT_PROTOCOL;
}

int assent_guard_redis_eval(struct redisContext *redis, struct assent_guard_call *call, const char *lua,
                            const char *key, const char *arg, uint32_t ttl_s,
                            struct assent_guard_result *result)
{
    memset(result, 0, sizeof *result);
    if (ttl_s == 0 || lua == NULL || key == NULL || arg == NULL)
        return ASSENT_INVALID;
    char own[KEY_BYTES], other[KEY_BYTES], ttl[16], word[16];
    const char *origin = assent_guard_origin(call->op);
    unsigned use = (unsigned)(call->uses + 1);
    key_make(own, call, call->op, use);
    key_make(other, call, origin != NULL ? origin : call->op, use);
    snprintf(ttl, sizeof ttl, "%" PRIu32, ttl_s);
    size_t size = sizeof script_head + strlen(lua) + sizeof script_tail;
    char *script = malloc(size);
    if (script == NULL)
        return ASSENT_NOMEM;
    snprintf(script, size, "%s%s%s", script_head, lua, script_tail);
    const char *argv[] = {"EVAL", script, "3", own, other, key, origin != NULL ? "1" : "0", ttl, arg, "op"};
    int rc = eval(redis, (int)(sizeof argv / sizeof argv[0]), argv, word, result);
    free(script);
    if (rc == ASSENT_OK)
        rc = verdict_of(word, result);
    /* Each script stands alone: after an error the next attempt is of the same use. */
    if (rc == ASSENT_OK)
        call->uses = use;
    return rc;
}

int assent_guard_redis_adjust(struct redisContext *redis, struct assent_guard_call *call, const char *key,
                              int64_t amount, uint32_t ttl_s, struct assent_guard_result *result)
{
    char text[32];
    memset(result, 0, sizeof *result);
    if (amount == INT64_MIN) /* has no opposite */
        return ASSENT_INVALID;
    snprintf(text, sizeof text, "%" PRId64, amount);
    return assent_guard_redis_eval(redis, call, adjust_body, key, text, ttl_s, result);
}

int assent_guard_redis_prepared(struct redisContext *redis, const struct assent_guard_call *call,
                                uint32_t ttl_s, struct assent_guard_result *result)
{
    memset(result, 0, sizeof *result);
    if (ttl_s == 0)
        return ASSENT_INVALID;
    struct assent_guard_call msg = *call;
    char own[KEY_BYTES], ttl[16], word[16];
    snprintf(msg.branch, sizeof msg.branch, "00");
    key_make(own, &msg, "msg", 1);
    snprintf(ttl, sizeof ttl, "%" PRIu32, ttl_s);
    const char *argv[] = {"EVAL", prepared_script, "1", own, ttl};
    int rc = eval(redis, (int)(sizeof argv / sizeof argv[0]), argv, word, result);
    if (rc == ASSENT_OK)
        result->outcome = strcmp(word, "COMMITTED") == 0 ? ASSENT_GUARD_COMMITTED : ASSENT_GUARD_ABORTED;
    return rc;
}

/* ---- the guard row */

#define ROW_BYTES (ASSENT_GUARD_TABLE_MAX + 2 * (ASSENT_GUARD_ID_BYTES_MAX + 1) + 2)

static int row_make(char to[ROW_BYTES], const struct assent_guard_call *call,
                    struct assent_guard_result *result)
{
    const char *table = call->table != NULL ? call->table : ASSENT_GUARD_BRANCH_TABLE;
    memset(result, 0, sizeof *result);
    if (!assent_guard_table_ok(table)) {
        snprintf(result->detail, sizeof result->detail, "bad name of a table");
        return ASSENT_INVALID;
    }
    snprintf(to, ROW_BYTES, "%s:%s:%s", table, call->gid, call->branch);
    return call->token > (uint64_t)INT64_MAX ? ASSENT_TOO_LARGE : ASSENT_OK;
}

int assent_guard_redis_branch(struct redisContext *redis, const struct assent_guard_call *call,
                              const char *lua, const char *key, const char *arg, uint32_t ttl_s,
                              struct assent_guard_result *result)
{
    char row[ROW_BYTES], class_text[16], token[24], ttl[16], word[16];
    int rc = row_make(row, call, result);
    enum assent_guard_class class = assent_guard_class_of(call->op);
    if (rc != ASSENT_OK)
        return rc;
    if (lua == NULL || key == NULL || arg == NULL || class == ASSENT_GUARD_CLASS_NR)
        return ASSENT_INVALID;
    snprintf(class_text, sizeof class_text, "%d", (int)class);
    snprintf(token, sizeof token, "%" PRIu64, call->token);
    snprintf(ttl, sizeof ttl, "%" PRIu32, ttl_s);
    size_t size = sizeof branch_head + strlen(lua) + sizeof branch_tail;
    char *script = malloc(size);
    if (script == NULL)
        return ASSENT_NOMEM;
    snprintf(script, size, "%s%s%s", branch_head, lua, branch_tail);
    const char *argv[9 + ASSENT_GUARD_TOMBSTONE] = {"EVAL",     script, "2", row, key,
                                                    class_text, token,  ttl, arg};
    for (int s = ASSENT_GUARD_TRIED; s <= ASSENT_GUARD_TOMBSTONE; s++)
        argv[8 + s] = assent_guard_verdict_name(assent_guard_verdict_of((enum assent_guard_state)s, class));
    rc = eval(redis, (int)(sizeof argv / sizeof argv[0]), argv, word, result);
    free(script);
    if (rc == ASSENT_OK && strcmp(word, "CORRUPT") == 0) {
        snprintf(result->detail, sizeof result->detail, "guard row with an unknown state");
        return ASSENT_CORRUPT;
    }
    return rc == ASSENT_OK ? verdict_of(word, result) : rc;
}

int assent_guard_redis_outcome(struct redisContext *redis, const struct assent_guard_call *call,
                               uint32_t ttl_s, struct assent_guard_result *result)
{
    char row[ROW_BYTES], ttl[16], word[16];
    int rc = row_make(row, call, result);
    if (rc != ASSENT_OK)
        return rc;
    snprintf(ttl, sizeof ttl, "%" PRIu32, ttl_s);
    const char *argv[] = {"EVAL", outcome_script, "1", row, ttl};
    rc = eval(redis, (int)(sizeof argv / sizeof argv[0]), argv, word, result);
    if (rc == ASSENT_OK)
        result->outcome = strcmp(word, "COMMITTED") == 0 ? ASSENT_GUARD_COMMITTED : ASSENT_GUARD_ABORTED;
    return rc;
}
