/* Members of a vector clock and their exact retirement; the problem and the rules are in domain.h. */
#include "domain.h"

#include "row.h"

#define REGISTRY 0

/* Fixed part of the registry row and of one member in it, in bytes. */
#define REGISTRY_HEAD_BYTES   (8 + 8 + 8 + 4)
#define REGISTRY_MEMBER_BYTES (8 + 1 + 8 + 4 + 4)

enum { MEMBER_LEAVING = 1, MEMBER_SHOWN = 2 };

static struct assent_bytes row_key(struct store_key *k, struct assent_bytes clock, uint8_t row,
                                   uint64_t number)
{
    key_init(k);
    key_text(k, clock);
    key_u8(k, row);
    if (row == DOMAIN_SEEN || row == DOMAIN_SHOWN) {
        key_u64(k, number);
    }
    return key_bytes(k);
}

void domain_load(struct domain *d, struct store_txn *txn, struct assent_bytes clock)
{
    d->clock = clock;
    d->epoch = d->oldest = 0;
    d->next_number = 1;
    d->n = 0;
    d->dirty = false;
    struct store_key key;
    struct assent_bytes row;
    d->exists = store_get(txn, STORE_VECTORS, row_key(&key, clock, REGISTRY, 0), &row);
    if (!d->exists) {
        return;
    }
    d->epoch = row_take_u64(&row);
    d->oldest = row_take_u64(&row);
    d->next_number = row_take_u64(&row);
    d->n = row_take_u32(&row);
    assert(d->n <= ASSENT_VECTOR_MEMBERS_MAX);
    size_t used = 0;
    for (uint32_t i = 0; i < d->n; i++) {
        struct domain_member *m = &d->members[i];
        m->number = row_take_u64(&row);
        uint8_t flags = row_take_u8(&row);
        m->leaving = (flags & MEMBER_LEAVING) != 0;
        m->shown = (flags & MEMBER_SHOWN) != 0;
        m->final = row_take_u64(&row);
        m->pending = row_take_u32(&row);
        struct assent_bytes name = row_take_bytes(&row);
        assert(name.size <= sizeof d->names - used);
        memcpy(d->names + used, name.base, name.size);
        m->name = (struct assent_bytes){d->names + used, name.size};
        used += name.size;
    }
}

void domain_save(struct domain *d, struct store_txn *txn)
{
    if (!d->dirty) {
        return;
    }
    uint8_t bytes[REGISTRY_HEAD_BYTES +
                  ASSENT_VECTOR_MEMBERS_MAX * (REGISTRY_MEMBER_BYTES + ASSENT_NAME_BYTES_MAX)];
    struct row_writer row = {bytes, 0, sizeof bytes};
    row_put_u64(&row, d->epoch);
    row_put_u64(&row, d->oldest);
    row_put_u64(&row, d->next_number);
    row_put_u32(&row, d->n);
    for (uint32_t i = 0; i < d->n; i++) {
        const struct domain_member *m = &d->members[i];
        row_put_u64(&row, m->number);
        row_put_u8(&row, (uint8_t)((m->leaving ? MEMBER_LEAVING : 0) | (m->shown ? MEMBER_SHOWN : 0)));
        row_put_u64(&row, m->final);
        row_put_u32(&row, m->pending);
        row_put_bytes(&row, m->name);
    }
    struct store_key key;
    store_put(txn, STORE_VECTORS, row_key(&key, d->clock, REGISTRY, 0), row_written(&row));
    d->dirty = false;
    d->exists = true;
}

int32_t domain_find(const struct domain *d, struct assent_bytes name)
{
    for (uint32_t i = 0; i < d->n; i++) {
        if (d->members[i].name.size == name.size &&
            memcmp(d->members[i].name.base, name.base, name.size) == 0) {
            return (int32_t)i;
        }
    }
    return -1;
}

int32_t domain_join(struct domain *d, struct assent_bytes name)
{
    assert(domain_find(d, name) < 0);
    if (d->n == ASSENT_VECTOR_MEMBERS_MAX) {
        return -1;
    }
    d->members[d->n] = (struct domain_member){.number = d->next_number++, .name = name};
    d->dirty = true;
    return (int32_t)d->n++;
}

/* ---- rows of counters ---- */

bool domain_counts_load(const struct domain *d, struct store_txn *txn, enum domain_row kind, uint32_t i,
                        struct domain_counts *out)
{
    memset(out->at, 0, d->n * sizeof out->at[0]);
    struct store_key key;
    struct assent_bytes row;
    uint64_t owner = kind == DOMAIN_BASE ? 0 : d->members[i].number;
    if (!store_get(txn, STORE_VECTORS, row_key(&key, d->clock, (uint8_t)kind, owner), &row)) {
        return false;
    }
    /* Both sides are ordered by join number; numbers without a member were dropped. */
    for (uint32_t place = 0; row.size > 0;) {
        uint64_t number = row_take_u64(&row), count = row_take_u64(&row);
        while (place < d->n && d->members[place].number < number) {
            place++;
        }
        if (place < d->n && d->members[place].number == number) {
            out->at[place] = count;
        }
    }
    return true;
}

void domain_counts_save(const struct domain *d, struct store_txn *txn, enum domain_row kind, uint32_t i,
                        const struct domain_counts *counts)
{
    uint8_t bytes[16 * ASSENT_VECTOR_MEMBERS_MAX];
    struct row_writer row = {bytes, 0, sizeof bytes};
    for (uint32_t place = 0; place < d->n; place++) {
        if (counts->at[place] > 0) {
            row_put_u64(&row, d->members[place].number);
            row_put_u64(&row, counts->at[place]);
        }
    }
    struct store_key key;
    uint64_t owner = kind == DOMAIN_BASE ? 0 : d->members[i].number;
    store_put(txn, STORE_VECTORS, row_key(&key, d->clock, (uint8_t)kind, owner), row_written(&row));
}

void domain_seen(const struct domain *d, struct store_txn *txn, uint32_t i, struct domain_counts *out)
{
    if (!domain_counts_load(d, txn, DOMAIN_SEEN, i, out)) {
        domain_counts_load(d, txn, DOMAIN_BASE, i, out);
    }
}

uint64_t domain_counter(const struct domain *d, struct store_txn *txn, uint32_t i)
{
    struct domain_counts counts;
    domain_counts_load(d, txn, DOMAIN_SEEN, i, &counts);
    uint64_t counter = counts.at[i];
    if (d->members[i].shown) {
        domain_counts_load(d, txn, DOMAIN_SHOWN, i, &counts);
        counter = counts.at[i] > counter ? counts.at[i] : counter;
    }
    return counter;
}

/* ---- retirement ---- */

static void merge(const struct domain *d, struct domain_counts *into, const struct domain_counts *from)
{
    for (uint32_t i = 0; i < d->n; i++) {
        if (from->at[i] > into->at[i]) {
            into->at[i] = from->at[i];
        }
    }
}

/* Whom does each leaving member wait for?  Counted afresh, because the one that starts to leave is waited for
 * no longer. */
static void count_pending(struct domain *d, struct store_txn *txn)
{
    for (uint32_t i = 0; i < d->n; i++) {
        d->members[i].pending = 0;
    }
    for (uint32_t i = 0; i < d->n; i++) {
        if (d->members[i].leaving) {
            continue;
        }
        struct domain_counts seen;
        domain_seen(d, txn, i, &seen);
        for (uint32_t j = 0; j < d->n; j++) {
            d->members[j].pending += d->members[j].leaving && seen.at[j] < d->members[j].final;
        }
    }
}

void domain_retire(struct domain *d, struct store_txn *txn, uint32_t i)
{
    assert(!d->members[i].leaving);
    struct domain_counts base, known;
    domain_counts_load(d, txn, DOMAIN_BASE, 0, &base);
    domain_seen(d, txn, i, &known);
    merge(d, &base, &known);
    if (d->members[i].shown) {
        domain_counts_load(d, txn, DOMAIN_SHOWN, i, &known);
        merge(d, &base, &known);
    }
    domain_counts_save(d, txn, DOMAIN_BASE, 0, &base);
    d->members[i].leaving = true;
    d->members[i].final = base.at[i];
    d->dirty = true;
    count_pending(d, txn);
}

void domain_progress(struct domain *d, uint32_t i, const struct domain_counts *before,
                     const struct domain_counts *after)
{
    assert(!d->members[i].leaving);
    for (uint32_t j = 0; j < d->n; j++) {
        struct domain_member *m = &d->members[j];
        if (m->leaving && before->at[j] < m->final && after->at[j] >= m->final) {
            assert(m->pending > 0);
            m->pending--;
            d->dirty = true;
        }
    }
}

static struct assent_bytes record_key(struct store_key *k, const struct domain *d, uint64_t epoch)
{
    key_init(k);
    key_text(k, d->clock);
    key_u8(k, 1);
    key_u64(k, epoch);
    return key_bytes(k);
}

static struct assent_bytes name_key(struct store_key *k, const struct domain *d, struct assent_bytes name)
{
    key_init(k);
    key_text(k, d->clock);
    key_u8(k, 2);
    key_tail(k, name);
    return key_bytes(k);
}

static bool record_load(const struct domain *d, struct store_txn *txn, uint64_t epoch, uint64_t *final,
                        struct assent_bytes *name)
{
    struct store_key key;
    struct assent_bytes row;
    if (!store_get(txn, STORE_VECTOR_EPOCHS, record_key(&key, d, epoch), &row)) {
        return false;
    }
    *final = row_take_u64(&row);
    *name = row_take_bytes(&row);
    return true;
}

/* Forget the record of the oldest epoch. */
static void record_forget(struct domain *d, struct store_txn *txn)
{
    uint64_t final, newest;
    struct assent_bytes name;
    struct store_key key;
    d->oldest++;
    bool kept = record_load(d, txn, d->oldest, &final, &name);
    assert(kept);
    bool named = domain_dropped(d, txn, name, &newest, &final);
    assert(named);
    name_key(&key, d, name); /* copies the name before the store is written */
    if (newest == d->oldest) {
        store_del(txn, STORE_VECTOR_EPOCHS, key_bytes(&key));
    }
    store_del(txn, STORE_VECTOR_EPOCHS, record_key(&key, d, d->oldest));
}

static void drop(struct domain *d, struct store_txn *txn, uint32_t i)
{
    const struct domain_member *m = &d->members[i];
    uint8_t bytes[8 + 4 + ASSENT_NAME_BYTES_MAX];
    struct store_key key;
    d->epoch++;
    struct row_writer row = {bytes, 0, sizeof bytes};
    row_put_u64(&row, m->final);
    row_put_bytes(&row, m->name);
    store_put(txn, STORE_VECTOR_EPOCHS, record_key(&key, d, d->epoch), row_written(&row));
    row.size = 0;
    row_put_u64(&row, d->epoch);
    store_put(txn, STORE_VECTOR_EPOCHS, name_key(&key, d, m->name), row_written(&row));
    store_del(txn, STORE_VECTORS, row_key(&key, d->clock, DOMAIN_SEEN, m->number));
    store_del(txn, STORE_VECTORS, row_key(&key, d->clock, DOMAIN_SHOWN, m->number));
    if (d->epoch - d->oldest > DOMAIN_EPOCHS_KEPT) {
        record_forget(d, txn);
    }
    memmove(&d->members[i], &d->members[i + 1], (d->n - i - 1) * sizeof d->members[0]);
    d->n--;
    d->dirty = true;
}

void domain_drop(struct domain *d, struct store_txn *txn, struct domain_counts *counts)
{
    for (uint32_t i = 0; i < d->n;) {
        if (!d->members[i].leaving || d->members[i].pending > 0) {
            i++;
            continue;
        }
        drop(d, txn, i);
        if (counts != NULL) {
            memmove(&counts->at[i], &counts->at[i + 1], (d->n - i) * sizeof counts->at[0]);
        }
    }
}

bool domain_dropped(const struct domain *d, struct store_txn *txn, struct assent_bytes name, uint64_t *epoch,
                    uint64_t *final)
{
    struct store_key key;
    struct assent_bytes row, recorded;
    if (!store_get(txn, STORE_VECTOR_EPOCHS, name_key(&key, d, name), &row)) {
        return false;
    }
    *epoch = row_take_u64(&row);
    bool found = record_load(d, txn, *epoch, final, &recorded);
    assert(found);
    return true;
}

int domain_forward(struct apply *a, const struct domain *d, struct assent_vector *stamp, uint64_t from,
                   uint64_t to, bool *behind)
{
    if (from > d->epoch) {
        return refuse(a, ASSENT_INVALID, "epoch %llu has not begun; the clock is in epoch %llu",
                      (unsigned long long)from, (unsigned long long)d->epoch);
    }
    if (from < d->oldest) {
        return refuse(a, ASSENT_EPOCH_FORGOTTEN, "the oldest epoch that is kept is %llu",
                      (unsigned long long)d->oldest);
    }
    assert(from <= to && to <= d->epoch);
    for (uint64_t epoch = from + 1; epoch <= to; epoch++) {
        uint64_t final;
        struct assent_bytes name;
        bool kept = record_load(d, a->txn, epoch, &final, &name);
        assert(kept);
        /* A second record of the same name is of a member this stamp cannot know: its entry is gone by then.
         */
        uint64_t count = assent_vector_get(stamp, name);
        if (count > final) {
            return refuse(a, ASSENT_MEMBER_RETIRED, "%.*s left with counter %llu, the stamp has %llu",
                          (int)name.size, (const char *)name.base, (unsigned long long) final,
                          (unsigned long long)count);
        }
        *behind |= count < final;
        assent_vector_remove(stamp, name);
    }
    return ASSENT_OK;
}
