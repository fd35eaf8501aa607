/* Who holds what: how one transaction stands to one resource, everybody at a resource, everything of a
 * transaction, every frozen resource. */
#include "freeze.h"

#define LIST_LIMIT_DEFAULT 100u

/* How a transaction stands to a resource.  `status` is GRANTED as long as it holds the resource in any mode;
 * `waitingFor` names the mode it waits for, so an upgrade under way shows both. */
void freeze_answer(struct apply *a, struct assent_bytes xid, struct assent_bytes resource)
{
    struct freeze_of of = freeze_of_load(a->txn, xid, resource);
    struct freeze_hold hold = {0};
    struct freeze_wait wait = {0};
    const char *status = "NONE";
    if ((of.state & FREEZE_LATE) != 0)
        status = "TIMED_OUT";
    if ((of.state & FREEZE_WAITING) != 0) {
        wait = freeze_wait_load(a->txn, resource, of.rank, of.ticket);
        status = "WAITING";
    }
    if ((of.state & FREEZE_HELD) != 0) {
        hold = freeze_hold_load(a->txn, resource, xid);
        status = "GRANTED";
    }
    codec_map(a->out, 9);
    codec_pair_text(a->out, "xid", scoped_name(xid, NULL));
    codec_pair_text(a->out, "resource", scoped_name(resource, NULL));
    codec_pair_cstr(a->out, "status", status);
    codec_pair_cstr(a->out, "mode", hold.token != 0 ? freeze_mode_name(hold.mode) : "");
    codec_pair_uint(a->out, "token", hold.token);
    codec_pair_int(a->out, "grantedUs", hold.since_us);
    codec_pair_cstr(a->out, "waitingFor", wait.ticket != 0 ? freeze_mode_name(wait.mode) : "");
    codec_pair_int(a->out, "waitingSinceUs", wait.since_us);
    codec_pair_int(a->out, "deadlineUs", wait.deadline_us);
}

/* How does the transaction stand to the resource?  NONE also of transactions nobody knows (any more): they
 * hold nothing. */
int query_freeze(struct apply *a)
{
    freeze_answer(a, arg_bytes(a->command, QUERY_FREEZE_XID),
                  arg_bytes(a->command, QUERY_FREEZE_RESOURCE_NAME));
    return ASSENT_OK;
}

/* Everybody at a resource: holders in order of xid, waiters in the order they will be served. */
int query_freeze_resource(struct apply *a)
{
    struct assent_bytes resource = arg_bytes(a->command, QUERY_FREEZE_RESOURCE_RESOURCE);
    struct freeze_head head = freeze_head_load(a->txn, resource);
    struct freeze_walk walk;
    struct assent_bytes tail, value;
    codec_map(a->out, 3);
    codec_pair_text(a->out, "resource", scoped_name(resource, NULL));
    codec_cstr(a->out, "holders");
    codec_list(a->out, head.holders);
    uint32_t n = 0;
    freeze_walk_open(&walk, a->txn, FREEZE_KEY_HOLD, resource);
    for (; freeze_walk_next(&walk, &tail, &value); n++) {
        struct freeze_hold hold = freeze_hold_decode(value);
        codec_map(a->out, 4);
        codec_pair_text(a->out, "xid", scoped_name(tail, NULL));
        codec_pair_cstr(a->out, "mode", freeze_mode_name(hold.mode));
        codec_pair_uint(a->out, "token", hold.token);
        codec_pair_int(a->out, "grantedUs", hold.since_us);
    }
    freeze_walk_close(&walk);
    assert(n == head.holders);
    codec_cstr(a->out, "waiters");
    codec_list(a->out, head.waiters);
    freeze_walk_open(&walk, a->txn, FREEZE_KEY_WAIT, resource);
    for (n = 0; freeze_walk_next(&walk, &tail, &value); n++) {
        struct freeze_wait wait = freeze_wait_decode(tail, value);
        codec_map(a->out, 5);
        codec_pair_text(a->out, "xid", scoped_name(wait.xid, NULL));
        codec_pair_cstr(a->out, "mode", freeze_mode_name(wait.mode));
        codec_pair_bool(a->out, "upgrade", wait.rank == FREEZE_RANK_UPGRADE);
        codec_pair_int(a->out, "waitingSinceUs", wait.since_us);
        codec_pair_int(a->out, "deadlineUs", wait.deadline_us);
    }
    freeze_walk_close(&walk);
    assert(n == head.waiters);
    return ASSENT_OK;
}

/* ---- pages of what the command's namespace has */

/* A name as it is stored. */
static struct store_key stored_name(const struct apply *a, struct assent_bytes name)
{
    struct store_key k;
    key_init(&k);
    if (a->command->session.ns.size > 0) {
        key_tail(&k, a->command->session.ns);
        key_u8(&k, NAMESPACE_MARK);
    }
    key_tail(&k, name);
    return k;
}

struct page {
    struct apply *a;
    struct freeze_walk walk;
    struct codec_writer rows;
    struct store_key last;
    uint32_t limit, found;
    bool more;
};

static int page_open(struct page *p, struct apply *a, enum freeze_key_kind kind, struct assent_bytes name,
                     struct assent_bytes after, uint64_t limit)
{
    if (limit == 0 || limit > ASSENT_PAGE_ROWS_MAX)
        return refuse(a, ASSENT_INVALID, "limit: 1 to %d", ASSENT_PAGE_ROWS_MAX);
    if (after.size > FREEZE_RESOURCE_BYTES_MAX)
        return refuse(a, ASSENT_INVALID, "after: a resource");
    *p = (struct page){.a = a, .limit = (uint32_t)limit};
    codec_writer_init(&p->rows);
    freeze_walk_open(&p->walk, a->txn, kind, name);
    struct store_key from = stored_name(a, after);
    if (after.size > 0)
        freeze_walk_after(&p->walk, key_bytes(&from));
    return ASSENT_OK;
}

/* The next resource of the page; borrowed until the next step. */
static bool page_next(struct page *p, struct assent_bytes *resource, struct assent_bytes *value)
{
    struct assent_bytes ns, bare;
    for (;;) {
        if (!freeze_walk_next(&p->walk, resource, value))
            return false;
        bare = scoped_name(*resource, &ns);
        if (bytes_equal(ns, p->a->command->session.ns))
            break;
        freeze_walk_skip(&p->walk, ns); /* in one step, however much is there */
    }
    if (p->found == p->limit) {
        p->more = true;
        return false;
    }
    p->found++;
    key_init(&p->last);
    key_tail(&p->last, bare);
    return true;
}

static int page_close(struct page *p)
{
    struct codec_writer *out = p->a->out;
    freeze_walk_close(&p->walk);
    codec_map(out, 2);
    codec_cstr(out, "freezes");
    codec_list(out, p->found);
    codec_raw(out, codec_written(&p->rows));
    codec_cstr(out, "next");
    if (p->more)
        codec_text(out, key_bytes(&p->last));
    else
        codec_nil(out);
    codec_writer_close(&p->rows);
    return ASSENT_OK;
}

/* A page of what a transaction holds and waits for, in order of the resources' names. */
int query_freeze_txn(struct apply *a)
{
    const struct command *c = a->command;
    struct assent_bytes xid = arg_bytes(c, QUERY_FREEZE_TXN_XID), resource, value;
    struct page p;
    struct txn t;
    if (!txn_load(a->txn, xid, &t))
        return txn_not_found(a, xid);
    int rv = page_open(&p, a, FREEZE_KEY_OF, xid, arg_bytes(c, QUERY_FREEZE_TXN_AFTER),
                       arg_uint(c, QUERY_FREEZE_TXN_LIMIT, LIST_LIMIT_DEFAULT));
    if (rv != ASSENT_OK)
        return rv;
    struct apply row = *a;
    row.out = &p.rows;
    while (page_next(&p, &resource, &value))
        freeze_answer(&row, xid, resource);
    return page_close(&p);
}

/* A page of frozen resources in order of their names. */
int query_freeze_list(struct apply *a)
{
    const struct command *c = a->command;
    struct assent_bytes prefix = arg_bytes(c, QUERY_FREEZE_LIST_PREFIX), resource, value;
    struct assent_bytes after = arg_bytes(c, QUERY_FREEZE_LIST_AFTER);
    struct page p;
    struct store_key begins = stored_name(a, prefix);
    int rv = page_open(&p, a, FREEZE_KEY_HEAD, key_bytes(&begins), after,
                       arg_uint(c, QUERY_FREEZE_LIST_LIMIT, LIST_LIMIT_DEFAULT));
    if (rv != ASSENT_OK)
        return rv;
    while (page_next(&p, &resource, &value)) {
        struct freeze_head head = freeze_head_decode(value);
        codec_map(&p.rows, 4);
        codec_pair_text(&p.rows, "resource", scoped_name(resource, NULL));
        codec_pair_cstr(&p.rows, "mode", freeze_mode_name(head.exclusive ? FREEZE_EXCLUSIVE : FREEZE_SHARED));
        codec_pair_uint(&p.rows, "holders", head.holders);
        codec_pair_uint(&p.rows, "waiters", head.waiters);
    }
    return page_close(&p);
}
