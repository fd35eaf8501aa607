/* A scripted participant on threads of its own, for tests with real nodes: it keeps its guard in memory,
 * answers by rules, can hold one call, and remembers every call it got.
 *
 * It listens to one *scene* at a time: calls whose xid begins with the scene's name.  All others are late
 * and get 200 unrecorded.  A call is named by branch and operation: "01 action", "00 query".
 *
 * Guard: the first accepted call of an operation is its effect, every further one changes nothing; an action
 * or a try behind the compensation or cancel of its branch is refused.  A call takes effect before it is
 * held: what a caller that dies meanwhile does not learn. */
#ifndef TESTS_ACTOR_H
#define TESTS_ACTOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ACTOR_CALLS_MAX 64 /* different calls of a scene */
#define ACTOR_NAME_MAX  64

/* How a call is answered: the first rule of its name that has not been used up; without one 200 "{}". */
struct actor_rule {
    const char *call;
    int status;
    const char *body;
    uint32_t times; /* 0: always */
};

/* What came of one call in a scene. */
struct actor_call {
    char name[ACTOR_NAME_MAX];
    uint32_t received;  /* repetitions too */
    bool effect;        /* it was accepted */
    uint32_t at_a_time; /* private from here on: under way */
    uint32_t ruled;     /* answers a rule gave */
};

/* One participant for the program; its URL with '/' at the end.  Aborts when it cannot listen. */
const char *actor_open(void);
void actor_close(void);

/* A new scene.  `hold`: the first call of that name waits until actor_release() (NULL: none does).  Rules end
 * with a NULL call, and are borrowed until the next scene.  `react` (may be NULL) runs in the thread of each
 * call before it is answered. */
void actor_scene(const char *xid, const char *hold, const struct actor_rule *rules,
                 void (*react)(const char *call, const char *xid));
/* Wait until the held call has come; false after `patience_ms`. */
bool actor_wait_held(long patience_ms);
void actor_release(void);
/* Wait until so many calls of the scene came; false after `patience_ms`. */
bool actor_wait_calls(const char *call, uint32_t n, long patience_ms);

/* The effects of the scene in order: "01 action, 02 action". */
void actor_effects(char *out, size_t size);
/* Calls of the scene; false: none of that name. */
bool actor_call_get(const char *call, struct actor_call *out);
/* The first thing that must never be: two calls of one operation at a time whose callers both live, a token
 * that went down.  Empty: nothing. */
const char *actor_wrong(void);

#endif /* TESTS_ACTOR_H */
