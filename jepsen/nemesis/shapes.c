/* Whom a fault meets, and which cables are cut; see shapes.h. */
#include "shapes.h"

#include <stdio.h>
#include <string.h>

#include "dice.h"

struct lot lot_draw(uint64_t *dice, uint32_t n, int leader)
{
    struct lot lot = {.n = n, .leader = leader};
    for (uint32_t i = 0; i < n; i++) { /* Fisher and Yates, inside out */
        uint32_t k = (uint32_t)dice_roll(dice, i + 1);
        lot.order[i] = lot.order[k];
        lot.order[k] = i;
    }
    return lot;
}

static uint32_t first_of(const struct lot *lot, uint32_t count)
{
    uint32_t mask = 0;
    for (uint32_t i = 0; i < count; i++)
        mask |= 1u << lot->order[i];
    return mask;
}

/* ---- sets of nodes ---- */

const char *const whom_names[WHOM_NR + 1] = {"one", "leader", "minority", "majority", "all", NULL};

uint32_t whom_mask(enum whom whom, const struct lot *lot)
{
    switch (whom) {
    case WHOM_ONE:
        return first_of(lot, 1);
    case WHOM_LEADER:
        return lot->leader >= 0 ? 1u << lot->leader : 0;
    case WHOM_MINORITY:
        return first_of(lot, (lot->n - 1) / 2);
    case WHOM_MAJORITY:
        return first_of(lot, lot->n / 2 + 1);
    default:
        return first_of(lot, lot->n);
    }
}

void whom_text(uint32_t mask, char *text, size_t size)
{
    size_t at = 0;
    text[0] = 0;
    for (uint32_t i = 0; i < 32 && at < size; i++)
        if ((mask & (1u << i)) != 0)
            at += (size_t)snprintf(text + at, size - at, "%snode-%u", at > 0 ? ", " : "", i + 1);
}

/* ---- cables ---- */

const char *const cut_names[CUT_NR + 1] = {"one",   "leader", "mute", "deaf",    "halves", "one-way",
                                           "third", "bridge", "ring", "swizzle", NULL};

/* What members of `from` send to others that are in `to`. */
static void sever(struct cut *cut, uint32_t from, uint32_t to)
{
    for (uint32_t i = 0; i < cut->n; i++)
        for (uint32_t k = 0; k < cut->n; k++)
            if (i != k && (from & (1u << i)) != 0 && (to & (1u << k)) != 0)
                cut->gone[i][k] = true;
}

static void sever_both(struct cut *cut, uint32_t a, uint32_t b)
{
    sever(cut, a, b);
    sever(cut, b, a);
}

struct cut cut_alone(uint32_t n, uint32_t mask)
{
    struct cut cut = {.n = n};
    sever_both(&cut, mask, UINT32_MAX);
    return cut;
}

/* Everybody sees as many neighbours on both sides of a ring as make a majority with itself. */
static void ring(struct cut *cut, const struct lot *lot)
{
    uint32_t n = lot->n, sees = (n / 2 + 1) / 2;
    for (uint32_t p = 0; p < n; p++)
        for (uint32_t q = 0; q < n; q++) {
            uint32_t forward = (q + n - p) % n, backward = (p + n - q) % n;
            cut->gone[lot->order[p]][lot->order[q]] = forward > sees && backward > sees;
        }
}

uint32_t cut_members(const struct lot *lot)
{
    return first_of(lot, lot->n > 2 ? lot->n - lot->order[0] % (lot->n - 1) : lot->n);
}

bool cut_make(enum cut_shape shape, const struct lot *lot, struct cut *cut, char *text, size_t size)
{
    static const char *const says[CUT_NR] = {
        "cut off",
        "the leader is cut off from its peers",
        "not heard",
        "hears nobody",
        "cut off together",
        "not heard by the others, but hears them",
        "cut off together",
        "the only one that everybody sees",
        "everybody sees another majority, in the order of a ring, beginning with",
        "cut off one by one, and back in another order",
    };
    char names[128];
    uint32_t n = lot->n, one = n > 0 ? 1u << lot->order[0] : 0, half = first_of(lot, n / 2);
    uint32_t third = first_of(lot, (n - 1) / 3 > 0 ? (n - 1) / 3 : 1);
    uint32_t side = 0; /* of a bridge */
    for (uint32_t i = 1; i <= (n - 1) / 2; i++)
        side |= 1u << lot->order[i];
    uint32_t met = one;
    *cut = (struct cut){.n = n};
    if (n < 2)
        return false;
    switch (shape) {
    case CUT_ONE:
        sever_both(cut, one, UINT32_MAX);
        break;
    case CUT_LEADER:
        if (lot->leader < 0)
            return false;
        met = 1u << lot->leader;
        sever_both(cut, met, UINT32_MAX);
        break;
    case CUT_MUTE:
        sever(cut, one, UINT32_MAX);
        break;
    case CUT_DEAF:
        sever(cut, UINT32_MAX, one);
        break;
    case CUT_HALVES:
        met = half;
        sever_both(cut, half, ~half);
        break;
    case CUT_ONE_WAY:
        met = half;
        sever(cut, half, ~half);
        break;
    case CUT_THIRD:
        met = third;
        sever_both(cut, third, ~third);
        break;
    case CUT_BRIDGE:
        if (n < 3)
            return false;
        sever_both(cut, side, ~(side | one));
        break;
    case CUT_RING:
        if (n < 5)
            return false;
        ring(cut, lot);
        break;
    default: /* a swizzle: nothing yet */
        met = cut_members(lot);
    }
    whom_text(met, names, sizeof names);
    snprintf(text, size, "%s: %s", says[shape], names);
    return true;
}

uint32_t cut_swizzle(const struct lot *going, const struct lot *coming, uint32_t members, uint32_t permille)
{
    uint32_t count = (uint32_t)__builtin_popcount(members), gone = 0, mask = 0;
    /* The first half of the time they go, the second they come; the first goes at once. */
    uint32_t go = permille < 500 ? permille * count / 500 + 1 : count;
    uint32_t come = permille < 500 ? 0 : (permille - 500) * count / 500 + 1;
    for (uint32_t i = 0; i < going->n && gone < go; i++)
        if ((members & (1u << going->order[i])) != 0) {
            mask |= 1u << going->order[i];
            gone++;
        }
    for (uint32_t i = 0; i < coming->n && come > 0; i++)
        if ((members & (1u << coming->order[i])) != 0) {
            mask &= ~(1u << coming->order[i]);
            come--;
        }
    return mask;
}
