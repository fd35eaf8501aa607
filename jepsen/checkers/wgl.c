/* Wing and Gong's search with Lowe's memory: walk the events in order; at a call, let it take effect if the
 * model agrees and the configuration (who took effect, state) is new; at a return that has not taken effect,
 * go back.
 *
 * Whether the rest can be ordered depends on the configuration alone, so none is tried twice.  The memory
 * first holds 128-bit hashes; a collision could only prune, that is, turn true into false.  Hence an invalid
 * part is searched once more with whole configurations before it is called invalid.
 *
 * Sources: Wing and Gong, Testing and verifying concurrent objects (1993); Lowe, Testing for linearizability
 * (2017). */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "intern.h"

#define NONE           UINT32_MAX
#define STEPS_PER_LOOK 4096 /* at the clock */

struct hash {
    uint64_t a, b;
};

/* Set of configurations.  Compact: slots of hashes, {0,0} is free.  Exact: slots {hash, offset + 1} into
 * `arena`. */
struct memo {
    bool exact;
    struct hash *slots;
    size_t n, mask;
    uint64_t *arena;
    size_t arena_n, arena_capacity;
    uint64_t bytes_max;
};

struct frame {
    uint32_t op, state;
};

struct search {
    const struct lin_part *part;
    struct intern states;
    struct memo memo;
    uint32_t *next, *prev; /* list of entries: op i's call is i, its return n + i, the head 2n */
    uint64_t *bits; /* who took effect; required operations, then, in words of their own, optional ones */
    size_t required_words, words;
    size_t low, high; /* window of required words: all below are full, all above `high` empty */
    struct frame *stack;
    uint32_t depth, state, returns_left;
    struct hash hash; /* of bits */
    struct lin_limit limit;
    const char *why;
};

static uint64_t mix(uint64_t x)
{
    x += 0x9E3779B97F4A7C15u;
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9u;
    x = (x ^ x >> 27) * 0x94D049BB133111EBu;
    return x ^ x >> 31;
}

/* Zobrist: the hash of a set is the xor of its members' hashes, so adding and removing are the same cheap
 * step. */
static void toggle_hash(struct hash *hash, uint32_t op)
{
    hash->a ^= mix(2 * (uint64_t)op);
    hash->b ^= mix(2 * (uint64_t)op + 1);
}

static size_t word_of(const struct search *s, uint32_t op)
{
    return op < s->part->required ? op / 64 : s->required_words + (op - s->part->required) / 64;
}

static uint64_t bit_of(const struct search *s, uint32_t op)
{
    return 1ull << (op < s->part->required ? op % 64 : (op - s->part->required) % 64);
}

static void add_bit(struct search *s, uint32_t op)
{
    size_t word = word_of(s, op);
    s->bits[word] |= bit_of(s, op);
    toggle_hash(&s->hash, op);
    if (word >= s->required_words)
        return;
    if (word > s->high)
        s->high = word;
    while (s->low < s->required_words && s->bits[s->low] == UINT64_MAX)
        s->low++;
}

static void remove_bit(struct search *s, uint32_t op)
{
    size_t word = word_of(s, op);
    s->bits[word] &= ~bit_of(s, op);
    toggle_hash(&s->hash, op);
    if (word >= s->required_words)
        return;
    if (word < s->low)
        s->low = word;
    while (s->high > 0 && s->bits[s->high] == 0)
        s->high--;
}

/* Memory
 * ----------------------------------------------------------------------------------------------------------
 */

static int memo_grow(struct memo *memo)
{
    size_t size = memo->slots == NULL ? 1024 : 2 * (memo->mask + 1);
    if ((size + memo->arena_capacity / 2) * sizeof *memo->slots > memo->bytes_max)
        return -1;
    struct hash *slots = calloc(size, sizeof *slots);
    if (slots == NULL)
        return -1;
    for (size_t i = 0; memo->slots != NULL && i <= memo->mask; i++) {
        if (memo->slots[i].a == 0 && memo->slots[i].b == 0)
            continue;
        size_t at = memo->slots[i].a & (size - 1);
        while (slots[at].a != 0 || slots[at].b != 0)
            at = (at + 1) & (size - 1);
        slots[at] = memo->slots[i];
    }
    free(memo->slots);
    memo->slots = slots;
    memo->mask = size - 1;
    return 0;
}

/* The configuration as words: state and window first, then the window's words, then the optional ones. */
static size_t spell(const struct search *s, uint32_t state, uint64_t *out)
{
    size_t n = 0;
    size_t window = s->high >= s->low ? s->high - s->low + 1 : 0;
    out[n++] = (uint64_t)state << 32 | (uint32_t)s->low;
    out[n++] = window;
    for (size_t i = 0; i < window; i++)
        out[n++] = s->bits[s->low + i];
    for (size_t i = s->required_words; i < s->words; i++)
        out[n++] = s->bits[i];
    return n;
}

/* Room for one more configuration at the end of the arena; NULL: over the budget. */
static uint64_t *arena_room(struct search *s)
{
    struct memo *memo = &s->memo;
    size_t needed = memo->arena_n + s->words + 2;
    if (needed > memo->arena_capacity) {
        size_t capacity = 2 * needed + 1024;
        if (capacity * sizeof(uint64_t) + (memo->mask + 1) * sizeof *memo->slots > memo->bytes_max)
            return NULL;
        uint64_t *arena = realloc(memo->arena, capacity * sizeof *arena);
        if (arena == NULL)
            return NULL;
        memo->arena = arena;
        memo->arena_capacity = capacity;
    }
    return memo->arena + memo->arena_n;
}

static bool same_spelling(const struct memo *memo, uint64_t offset, const uint64_t *words, size_t n)
{
    return offset + n <= memo->arena_n && memcmp(memo->arena + offset, words, n * sizeof *words) == 0;
}

/* 1: the configuration (bits, state) is new and now remembered; 0: known; -1: over the budget. */
static int memo_add(struct search *s, uint32_t state)
{
    struct memo *memo = &s->memo;
    if ((memo->slots == NULL || 2 * memo->n >= memo->mask) && memo_grow(memo) != 0)
        return -1;
#ifdef JEPSEN_BREAK_MEMO
    state = 0; /* a planted fault: the self-tests must notice that states are confused */
#endif
    struct hash hash = {s->hash.a ^ mix(0x5bd1e995u + state),
                        s->hash.b ^ mix(0x1b873593u + (uint64_t)state * 31)};
    uint64_t *words = NULL;
    size_t n = 0;
    if (memo->exact) {
        words = arena_room(s);
        if (words == NULL)
            return -1;
        n = spell(s, state, words);
        hash.b = memo->arena_n + 1;
    } else if (hash.a == 0 && hash.b == 0) {
        hash.b = 1;
    }
    size_t at = hash.a & memo->mask;
    for (; memo->slots[at].a != 0 || memo->slots[at].b != 0; at = (at + 1) & memo->mask)
        if (memo->slots[at].a == hash.a && (memo->exact ? same_spelling(memo, memo->slots[at].b - 1, words, n)
                                                        : memo->slots[at].b == hash.b))
            return 0;
    memo->slots[at] = hash;
    memo->n++;
    memo->arena_n += n;
    return 1;
}

/* The list of entries
 * --------------------------------------------------------------------------------------------- */

static void unlink_entry(struct search *s, uint32_t entry)
{
    s->next[s->prev[entry]] = s->next[entry];
    if (s->next[entry] != NONE)
        s->prev[s->next[entry]] = s->prev[entry];
}

static void relink_entry(struct search *s, uint32_t entry)
{
    s->next[s->prev[entry]] = entry;
    if (s->next[entry] != NONE)
        s->prev[s->next[entry]] = entry;
}

static void lift(struct search *s, uint32_t op)
{
    unlink_entry(s, op);
    if (op < s->part->required) {
        unlink_entry(s, s->part->n + op);
        s->returns_left--;
    }
    add_bit(s, op);
}

/* The exact reverse of the latest lift. */
static void unlift(struct search *s, uint32_t op)
{
    remove_bit(s, op);
    if (op < s->part->required) {
        relink_entry(s, s->part->n + op);
        s->returns_left++;
    }
    relink_entry(s, op);
}

static int link_all(struct search *s)
{
    const struct lin_part *part = s->part;
    size_t events = (size_t)part->n + part->required;
    /* Ranks are sparse after minimising: walk them in order through a map as wide as the largest. */
    uint32_t widest = 0;
    for (uint32_t i = 0; i < part->n; i++) {
        widest = part->ops[i].call > widest ? part->ops[i].call : widest;
        widest = i < part->required && part->ops[i].ret > widest ? part->ops[i].ret : widest;
    }
    uint32_t *at_rank = malloc(((size_t)widest + 1) * sizeof *at_rank);
    if (at_rank == NULL)
        return -1;
    memset(at_rank, 0xff, ((size_t)widest + 1) * sizeof *at_rank);
    for (uint32_t i = 0; i < part->n; i++) {
        at_rank[part->ops[i].call] = i;
        if (i < part->required)
            at_rank[part->ops[i].ret] = part->n + i;
    }
    size_t linked = 0;
    uint32_t last = 2 * part->n;
    for (uint32_t rank = 0; part->n > 0 && rank <= widest; rank++)
        if (at_rank[rank] != NONE) {
            s->next[last] = at_rank[rank];
            s->prev[at_rank[rank]] = last;
            last = at_rank[rank];
            linked++;
        }
    s->next[last] = NONE;
    assert(linked == events);
    free(at_rank);
    return 0;
}

static int search_init(struct search *s, const struct model *model, const struct lin_part *part,
                       const struct lin_limit *limit, bool exact)
{
    *s = (struct search){.part = part, .limit = *limit, .returns_left = part->required};
    s->memo = (struct memo){.exact = exact, .bytes_max = limit->bytes};
    s->required_words = ((size_t)part->required + 63) / 64;
    s->words = s->required_words + ((size_t)(part->n - part->required) + 63) / 64;
    s->next = malloc((2 * (size_t)part->n + 1) * sizeof *s->next);
    s->prev = malloc((2 * (size_t)part->n + 1) * sizeof *s->prev);
    s->bits = calloc(s->words + 1, sizeof *s->bits);
    s->stack = malloc(((size_t)part->n + 1) * sizeof *s->stack);
    if (intern_init(&s->states, model, part) != 0 || s->next == NULL || s->prev == NULL || s->bits == NULL ||
        s->stack == NULL || link_all(s) != 0) {
        s->why = "out of memory";
        return -1;
    }
    return 0;
}

static void search_close(struct search *s)
{
    intern_close(&s->states);
    free(s->memo.slots);
    free(s->memo.arena);
    free(s->next);
    free(s->prev);
    free(s->bits);
    free(s->stack);
}

/* Remembers the furthest return the search could not pass. */
static void note_stuck(struct search *s, uint32_t op, struct lin_stuck *stuck)
{
    if (stuck->at != LIN_NEVER && s->part->ops[op].ret <= s->part->ops[stuck->at].ret)
        return;
    stuck->at = op;
    stuck->before = s->depth == 0 ? LIN_NEVER : s->stack[s->depth - 1].op;
    stuck->state = s->states.states[s->state];
}

/* Lets `op` take effect if that leads to a new configuration.  1: it did; 0: no; -1: over the budget. */
static int try_call(struct search *s, uint32_t op)
{
    uint32_t after = intern_step(&s->states, s->state, op);
    if (after == INTERN_REFUSED)
        return 0;
    if (after == INTERN_NOMEM)
        return -1;
    add_bit(s, op);
    int added = memo_add(s, after);
    remove_bit(s, op);
    if (added <= 0)
        return added;
    s->stack[s->depth++] = (struct frame){op, s->state};
    lift(s, op);
    s->state = after;
    return 1;
}

static enum verdict_valid search_run(struct search *s, struct lin_stuck *stuck)
{
    uint32_t n = s->part->n, head = 2 * n;
    uint32_t entry = s->next[head];
    for (uint64_t steps = 1; s->returns_left > 0; steps++) {
        if (steps % STEPS_PER_LOOK == 0 && lin_limit_late(&s->limit)) {
            s->why = "over the budget of time";
            return UNKNOWN;
        }
        assert(entry != NONE);
        if (entry < n) {
            int moved = try_call(s, entry);
            if (moved < 0) {
                s->why = "over the budget of memory";
                return UNKNOWN;
            }
            entry = s->next[moved ? head : entry];
            continue;
        }
        note_stuck(s, entry - n, stuck);
        if (s->depth == 0)
            return INVALID;
        struct frame top = s->stack[--s->depth];
        unlift(s, top.op);
        s->state = top.state;
        entry = s->next[top.op];
    }
    return VALID;
}

enum verdict_valid wgl_check(const struct model *model, const struct lin_part *part,
                             const struct lin_budget *budget, struct lin_stuck *stuck, const char **why)
{
    struct lin_limit limit = lin_limit(budget);
    enum verdict_valid valid = INVALID;
    for (int exact = 0; exact < 2 && valid == INVALID; exact++) {
        struct search s;
        *stuck = (struct lin_stuck){.at = LIN_NEVER, .before = LIN_NEVER};
        valid = search_init(&s, model, part, &limit, exact == 1) == 0 ? search_run(&s, stuck) : UNKNOWN;
        *why = s.why;
        search_close(&s);
    }
    return valid;
}
