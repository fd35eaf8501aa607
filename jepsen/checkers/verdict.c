#include "verdict.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void verdict_init(struct verdict *v)
{
    *v = (struct verdict){.valid = VALID};
}

void verdict_invalid(struct verdict *v, const char *format, ...)
{
    if (v->valid == INVALID)
        return;
    va_list args;
    va_start(args, format);
    vsnprintf(v->why, sizeof v->why, format, args);
    va_end(args);
    v->valid = INVALID;
}

static void __attribute__((format(printf, 2, 0)))
say_unknown(struct verdict *v, const char *format, va_list args)
{
    if (v->valid != VALID)
        return;
    vsnprintf(v->why, sizeof v->why, format, args);
    v->valid = UNKNOWN;
}

void verdict_unknown(struct verdict *v, uint64_t parts, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    say_unknown(v, format, args);
    va_end(args);
    v->unknown_parts += parts;
}

void verdict_malformed(struct verdict *v, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    say_unknown(v, format, args);
    va_end(args);
    v->malformed = true;
}

void verdict_close(struct verdict *v)
{
    if (v->valid == INVALID)
        return;
    if (v->checked == 0) {
        verdict_unknown(v, 0, "nothing was checked");
        return;
    }
    uint64_t parts = v->checked + v->unknown_parts;
    if (v->valid == UNKNOWN && !v->malformed && v->unknown_parts > 0 &&
        v->unknown_parts * 100 <= parts * VERDICT_UNKNOWN_PERCENT_MAX) {
        v->valid = VALID;
        v->why[0] = '\0';
    }
}

void verdict_compose(struct verdict *whole, const char *name, const struct verdict *part)
{
    static const int weight[] = {[VALID] = 0, [UNKNOWN] = 1, [INVALID] = 2};
    whole->checked += part->checked;
    whole->unknown_parts += part->unknown_parts;
    whole->malformed = whole->malformed || part->malformed;
    if (weight[part->valid] <= weight[whole->valid])
        return;
    whole->valid = part->valid;
    int used = snprintf(whole->why, sizeof whole->why, "%s: ", name);
    if (used < 0 || (size_t)used >= sizeof whole->why)
        used = 0;
    size_t room = sizeof whole->why - (size_t)used;
    size_t size = strnlen(part->why, room - 1);
    memcpy(whole->why + used, part->why, size);
    whole->why[(size_t)used + size] = '\0';
}

const char *verdict_name(enum verdict_valid valid)
{
    static const char *const names[] = {[VALID] = "true", [INVALID] = "false", [UNKNOWN] = "unknown"};
    return names[valid];
}

int verdict_exit(enum verdict_valid valid)
{
    return (int)valid;
}
