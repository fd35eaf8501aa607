/* Settings of the whole cluster: how long what has ended is kept. */
#include "settings.h"

#include <stdio.h>

#include "audit.h"

#define SETTINGS_FORMAT 1

static const char settings_key[] = "settings";

struct settings settings_load(struct store_txn *store)
{
    struct settings s = {RETENTION_MS_DEFAULT, AUDIT_RETENTION_MS_DEFAULT};
    struct assent_bytes row;
    if (!store_get(store, STORE_META, bytes_of(settings_key), &row))
        return s;
    uint8_t format = row_take_u8(&row);
    assert(format == SETTINGS_FORMAT);
    s.retention_ms = row_take_u64(&row);
    s.audit_retention_ms = row_take_u64(&row);
    assert(row.size == 0);
    return s;
}

static void settings_save(struct store_txn *store, const struct settings *s)
{
    uint8_t room[17];
    struct row_writer w = {room, 0, sizeof(room)};
    row_put_u8(&w, SETTINGS_FORMAT);
    row_put_u64(&w, s->retention_ms);
    row_put_u64(&w, s->audit_retention_ms);
    store_put(store, STORE_META, bytes_of(settings_key), row_written(&w));
}

static int answer(struct apply *a, const struct settings *s)
{
    codec_map(a->out, 2);
    codec_pair_uint(a->out, "retentionMs", s->retention_ms);
    codec_pair_uint(a->out, "auditRetentionMs", s->audit_retention_ms);
    return ASSENT_OK;
}

int query_settings(struct apply *a)
{
    struct settings s = settings_load(a->txn);
    return answer(a, &s);
}

/* Set what is given, leave the rest.  A transaction that has ended already goes when its end said, or later
 * if the new time is longer; the record follows a new time at once. */
int settings_put(struct apply *a)
{
    const struct command *c = a->command;
    struct settings s = settings_load(a->txn);
    struct assent_bytes why = arg_bytes(c, SETTINGS_PUT_REASON);
    s.retention_ms = arg_uint(c, SETTINGS_PUT_RETENTION_MS, s.retention_ms);
    s.audit_retention_ms = arg_uint(c, SETTINGS_PUT_AUDIT_RETENTION_MS, s.audit_retention_ms);
    if (why.size == 0)
        return refuse(a, ASSENT_INVALID, "reason: say why");
    if (s.retention_ms < RETENTION_MS_MIN)
        return refuse(a, ASSENT_INVALID, "retentionMs: at least a minute");
    if (s.audit_retention_ms < AUDIT_RETENTION_MS_MIN)
        return refuse(a, ASSENT_INVALID, "auditRetentionMs: at least a day");
    settings_save(a->txn, &s);
    char text[AUDIT_REASON_BYTES_MAX + 128];
    why = txn_shortened(why, AUDIT_REASON_BYTES_MAX - 100);
    snprintf(text, sizeof(text), "retentionMs %llu, auditRetentionMs %llu: %.*s",
             (unsigned long long)s.retention_ms, (unsigned long long)s.audit_retention_ms, (int)why.size,
             (const char *)why.base);
    struct audit entry = {
        .by = arg_bytes(c, SETTINGS_PUT_BY), .act = bytes_of("settings"), .reason = bytes_of(text)};
    audit_put(a, &entry);
    audit_look(a);
    return answer(a, &s);
}
