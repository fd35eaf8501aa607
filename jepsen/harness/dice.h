/* Dice: a stream of numbers fixed by its seed.  Source: splitmix64 (Steele, Lea, Flood 2014). */
#ifndef JEPSEN_DICE_H
#define JEPSEN_DICE_H

#include <stdint.h>

/* 0 .. below - 1; 0 when `below` is 0.  Moves `dice` on. */
static inline uint64_t dice_roll(uint64_t *dice, uint64_t below)
{
    *dice += UINT64_C(0x9e3779b97f4a7c15);
    uint64_t x = *dice;
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    x ^= x >> 31;
    return below == 0 ? 0 : x % below;
}

/* Half of `mean` to one and a half. */
static inline uint64_t dice_about(uint64_t *dice, uint64_t mean)
{
    return mean / 2 + dice_roll(dice, mean + 1);
}

#endif
