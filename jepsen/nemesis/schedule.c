/* When which fault begins and ends; see schedule.h. */
#include "schedule.h"

#include "dice.h"

#define CALM_MS      3000 /* a beginning to compare with */
#define REFUSED_MS   200
#define REFUSALS_MAX 4

struct schedule schedule_start(uint64_t seed)
{
    return (struct schedule){.dice = seed, .next_ms = CALM_MS};
}

static uint32_t all_of(uint32_t n)
{
    return n >= 32 ? UINT32_MAX : (1u << n) - 1;
}

static uint32_t bit_of(uint64_t *dice, uint32_t mask)
{
    uint64_t skip = dice_roll(dice, (uint64_t)__builtin_popcount(mask));
    for (uint32_t i = 0; i < 32; i++)
        if ((mask & (1u << i)) != 0 && skip-- == 0)
            return i;
    return 0;
}

/* Classes that may join those in force. */
static uint32_t possible(const struct schedule *s, const struct schedule_context *c)
{
    uint32_t mask = 0;
    if ((uint32_t)__builtin_popcount(s->active) >= c->at_once)
        return 0;
    for (uint32_t i = 0; i < c->classes; i++)
        if ((s->left & ~s->active & (1u << i)) != 0 && (c->apart[i] & s->active) == 0)
            mask |= 1u << i;
    for (uint32_t i = 0; i < c->classes; i++)
        if ((s->active & (1u << i)) != 0)
            mask &= ~c->apart[i];
    return mask;
}

static struct schedule_step begin(struct schedule s, const struct schedule_context *c, uint32_t mask,
                                  uint64_t now_ms)
{
    uint32_t i = bit_of(&s.dice, mask);
    if (s.shapes_left[i] == 0)
        s.shapes_left[i] = all_of(c->shapes[i]);
    uint32_t shape = bit_of(&s.dice, s.shapes_left[i]);
    s.shapes_left[i] &= ~(1u << shape);
    s.left &= ~(1u << i);
    s.active |= 1u << i;
    s.end_ms[i] = now_ms + dice_about(&s.dice, c->mean_ms);
    s.next_ms = now_ms + dice_about(&s.dice, c->mean_ms / 2); /* matters when others may join */
    return (struct schedule_step){SCHEDULE_BEGIN, i, shape, s};
}

struct schedule_step schedule_next(struct schedule s, const struct schedule_context *c, uint64_t now_ms)
{
    for (uint32_t i = 0; i < c->classes; i++) {
        if ((s.active & (1u << i)) == 0 || (now_ms < s.end_ms[i] && now_ms < c->until_ms))
            continue;
        s.active &= ~(1u << i);
        if (s.active == 0)
            s.next_ms = now_ms + dice_about(&s.dice, c->mean_ms / 2 + 500);
        return (struct schedule_step){SCHEDULE_END, i, 0, s};
    }
    if (c->classes > 0 && now_ms >= s.next_ms && now_ms < c->until_ms) {
        if (s.left == 0)
            s.left = all_of(c->classes);
        uint32_t mask = possible(&s, c);
        if (mask != 0)
            return begin(s, c, mask, now_ms);
    }
    return (struct schedule_step){SCHEDULE_WAIT, 0, 0, s};
}

struct schedule schedule_took(struct schedule s, uint32_t fault, uint64_t took_ms)
{
    s.refusals[fault] = 0;
    s.end_ms[fault] += took_ms;
    s.next_ms += took_ms;
    return s;
}

struct schedule schedule_refused(struct schedule s, uint32_t fault, uint64_t now_ms)
{
    s.active &= ~(1u << fault);
    if (++s.refusals[fault] < REFUSALS_MAX)
        s.left |= 1u << fault;
    else
        s.refusals[fault] = 0;
    s.next_ms = now_ms + REFUSED_MS;
    return s;
}
