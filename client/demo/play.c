/* How every demonstration goes:
 *
 *   participants up -> the play's own part, up to where the coordinator goes on alone
 *   -> with --kill-leader: SIGKILL to the leader, in the middle of a call that is held back at a gate
 *   -> who was down comes back -> the end
 *   -> every effect happened once, accounts changed as they must, money and pieces are conserved
 *
 * The rows stand in plays.c. */
#include <ftw.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "plays.h"

#define HOLDINGS_MAX 32

/* What all accounts of all participants hold. */
struct holdings {
    size_t n;
    struct {
        char name[160];
        bool money;
        long long balance;
    } at[HOLDINGS_MAX];
};

static size_t peers_count(const struct stage *s)
{
    size_t n = 0;
    while (n < STAGE_PEERS_MAX && s->play->peers[n].kind != NULL)
        n++;
    return n;
}

/* Read and print them. */
static void holdings_read(struct stage *s, const char *when, struct holdings *h)
{
    *h = (struct holdings){0};
    for (size_t i = 0; i < peers_count(s); i++) {
        json_t *answer = stage_peer_get(&s->peers[i], "/accounts"), *a;
        bool money = strcmp(stage_text(answer, "unit"), "cents") == 0;
        size_t k;
        json_array_foreach(json_object_get(answer, "accounts"), k, a)
        {
            double unit = money ? 100 : 1;
            if (h->n == HOLDINGS_MAX)
                break;
            snprintf(h->at[h->n].name, sizeof(h->at[0].name), "%s", stage_text(a, "account"));
            h->at[h->n].money = money;
            h->at[h->n++].balance = stage_number(a, "balance");
            say(s, "%-7s %-10s %-16s %*.*f   reserved %.*f, coming %.*f", when, s->peers[i].name,
                stage_text(a, "account"), money ? 9 : 6, money ? 2 : 0,
                (double)stage_number(a, "balance") / unit, money ? 2 : 0,
                (double)stage_number(a, "frozen") / unit, money ? 2 : 0,
                (double)stage_number(a, "coming") / unit);
        }
        json_decref(answer);
    }
}

static long long balance_of(const struct holdings *h, const char *account)
{
    for (size_t i = 0; i < h->n; i++)
        if (strcmp(h->at[i].name, account) == 0)
            return h->at[i].balance;
    return 0; /* not there yet */
}

static long long sum_of(const struct holdings *h, bool money)
{
    long long sum = 0;
    for (size_t i = 0; i < h->n; i++)
        sum += h->at[i].money == money ? h->at[i].balance : 0;
    return sum;
}

static void holdings_check(struct stage *s, const struct holdings *before, const struct holdings *after)
{
    for (size_t i = 0; i < after->n; i++) {
        const char *name = after->at[i].name;
        long long want = 0, got = after->at[i].balance - balance_of(before, name);
        for (size_t k = 0; k < sizeof(s->play->changes) / sizeof(s->play->changes[0]); k++)
            if (s->play->changes[k].account != NULL && strcmp(s->play->changes[k].account, name) == 0)
                want = s->play->changes[k].amounts * s->o.amount + s->play->changes[k].pieces;
        bool money = after->at[i].money;
        claim(s, got == want, "%-16s changed by %+.*f", name, money ? 2 : 0, (double)got / (money ? 100 : 1));
    }
    claim(s, sum_of(before, true) == sum_of(after, true), "money is conserved: %.2f in all",
          (double)sum_of(after, true) / 100);
    if (sum_of(before, false) != 0)
        claim(s, sum_of(before, false) == sum_of(after, false), "pieces are conserved: %lld in all",
              sum_of(after, false));
}

/* Guard rows of the transaction, one for each effect; they are what the play says, no more and no less. */
static void effects_check(struct stage *s)
{
    uint32_t found = 0, wanted = 0;
    while (wanted < STAGE_EFFECTS_MAX && s->play->effects[wanted] != NULL)
        wanted++;
    for (size_t i = 0; i < peers_count(s); i++) {
        char path[256], row[300];
        snprintf(path, sizeof(path), "/ledger?xid=%s", s->xid);
        json_t *ledger = stage_peer_get(&s->peers[i], path), *e;
        size_t k;
        json_array_foreach(json_object_get(ledger, "entries"), k, e)
        {
            bool known = false;
            snprintf(row, sizeof(row), "%s %s %s", s->peers[i].name, stage_text(e, "branch"),
                     stage_text(e, "op"));
            for (uint32_t w = 0; w < wanted; w++)
                known = known || strcmp(s->play->effects[w], row) == 0;
            found += known;
            claim(s, known, "%s: called %lld time(s), counted once", row, stage_number(e, "calls"));
        }
        json_decref(ledger);
    }
    claim(s, found == wanted, "these are all the effects there must be");
}

/* ---- the middle ---- */

static bool wait_held(const struct stage *s, const struct peer *p, long long more_than)
{
    int64_t until = monotonic_ms() + s->o.patience_ms;
    while (stage_held(p) <= more_than && monotonic_ms() < until)
        sleep_ms(10);
    return stage_held(p) > more_than;
}

/* The worst moment for a coordinator to die: a participant has the call and has not answered. */
static bool kill_in_the_middle(struct stage *s)
{
    struct peer *p = stage_peer(s, s->play->held);
    char error[STAGE_ERROR_MAX];
    if (!claim(s, wait_held(s, p, 0), "%s has its call and holds the answer back", p->name))
        return false;
    long long held = stage_held(p);
    if (!stage_leader_kill(s) || !claim(s, wait_held(s, p, held), "the new leader calls %s again", p->name))
        return false;
    bool ok = stage_peer_post(p, "/gate", json_pack("{s:s}", "closed", ""), error);
    return claim(s, ok, "%s answers now: the dead leader's call and the new leader's%s%s", p->name,
                 ok ? "" : ": ", ok ? "" : error);
}

static void show_branches(const struct stage *s, const json_t *t)
{
    const json_t *b;
    size_t i;
    json_array_foreach(json_object_get(t, "branches"), i, b)
    {
        say(s, "    %-8s %-12s %lld call(s)%s%s", stage_text(b, "branch"), stage_text(b, "status"),
            stage_number(b, "attempts"), stage_text(b, "lastError")[0] != 0 ? ", last error: " : "",
            stage_text(b, "lastError"));
    }
    json_array_foreach(json_object_get(t, "steps"), i, b)
    {
        say(s, "    %-8s %-12s recorded by the application", stage_text(b, "branch"),
            stage_text(b, "status"));
    }
}

static void show_progress(struct stage *s)
{
    json_t *t = stage_transaction(s, s->xid);
    say(s, "meanwhile the transaction is %s:", stage_text(t, "status"));
    show_branches(s, t);
    json_decref(t);
}

/* Who was down comes back; what an outage is for: it lasts. */
static bool come_back(struct stage *s, int64_t down_ms)
{
    struct peer *p = stage_peer(s, s->play->absent);
    int64_t until = down_ms + (s->play->outage ? s->o.down_s * 1000 : 0);
    int64_t show = monotonic_ms() + 500;
    while (monotonic_ms() < until) {
        int64_t left = until - monotonic_ms();
        sleep_ms(left < 500 ? (long)left : 500);
        if (s->play->outage && monotonic_ms() >= show) {
            show_progress(s);
            show = monotonic_ms() + 10000;
        }
    }
    bool ok = stage_peer_start(s, p);
    return claim(s, ok, "%s is back as pid %d, after %.1f s", p->name, p->pid,
                 (double)(monotonic_ms() - down_ms) / 1000);
}

static bool wait_end(struct stage *s)
{
    json_t *t = stage_wait(s, s->xid, s->play->end);
    if (!claim(s, t != NULL, "transaction %s is %s", s->xid, s->play->end)) {
        show_progress(s);
        return false;
    }
    if (stage_text(t, "reason")[0] != 0)
        say(s, "    reason: %s", stage_text(t, "reason"));
    show_branches(s, t);
    json_decref(t);
    return true;
}

static bool run(struct stage *s)
{
    struct holdings before, after;
    say(s, "%s: %s", s->play->name, s->play->what);
    if (!stage_leader_find(s) || !stage_peers_start(s))
        return false;
    holdings_read(s, "before:", &before);
    int64_t down_ms = monotonic_ms();
    if (s->play->outage) {
        peer_stop(stage_peer(s, s->play->absent));
        say(s, "%s goes down, for %lld s", s->play->absent, s->o.down_s);
    }
    if (!s->play->act(s))
        return false;
    if (s->o.kill_leader && !(s->play->held != NULL ? kill_in_the_middle(s) : stage_leader_kill(s)))
        return false;
    if (s->play->absent != NULL && !come_back(s, down_ms))
        return false;
    wait_end(s);
    effects_check(s);
    holdings_read(s, "after:", &after);
    holdings_check(s, &before, &after);
    if (s->o.kill_leader)
        stage_leader_restart(s);
    return s->wrong == 0;
}

/* ---- start ---- */

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *walk)
{
    (void)st, (void)type, (void)walk;
    return remove(path);
}

static bool options_parse(struct stage_options *o, int argc, char **argv)
{
    *o = (struct stage_options){.endpoints = "127.0.0.1:8080,127.0.0.1:8081,127.0.0.1:8082",
                                .state = ".local/nodes.json",
                                .amount = 25000,
                                .down_s = 60,
                                .patience_ms = 30000};
    for (int i = 0; i < argc; i++) {
        if (strcmp(argv[i], "--kill-leader") == 0) {
            o->kill_leader = true;
            continue;
        }
        if (i + 1 == argc)
            return false;
        const char *value = argv[i + 1];
        if (strcmp(argv[i], "--endpoints") == 0)
            o->endpoints = value;
        else if (strcmp(argv[i], "--state") == 0)
            o->state = value;
        else if (strcmp(argv[i], "--ctl") == 0)
            o->ctl = value;
        else if (strcmp(argv[i], "--amount") == 0)
            o->amount = strtoll(value, NULL, 10);
        else if (strcmp(argv[i], "--patience") == 0)
            o->patience_ms = strtol(value, NULL, 10);
        else if (strcmp(argv[i], "--down") == 0)
            o->down_s = strtoll(value, NULL, 10);
        else
            return false;
        i++;
    }
    return o->amount > 0 && o->amount <= PLAYS_AMOUNT_MAX && o->down_s >= 0 && o->down_s <= 3600 &&
           o->patience_ms > 0;
}

int play_main(const char *name, int argc, char **argv)
{
    struct stage s = {.started_ms = monotonic_ms(), .play = play_find(name)};
    if (s.play == NULL)
        return -1;
    if (!options_parse(&s.o, argc, argv) || !endpoints_parse(&s.cluster, s.o.endpoints)) {
        fprintf(stderr,
                "usage: assent-demo %s [--kill-leader] [--amount CENTS (1..%d)] [--down SECONDS (0..3600)]\n"
                "          [--endpoints HOST:PORT,...] [--state .local/nodes.json] [--ctl PATH] [--patience "
                "MS]\n",
                name, PLAYS_AMOUNT_MAX);
        return 2;
    }
    http_init();
    signal(SIGPIPE, SIG_IGN);
    bool ok = run(&s);
    for (size_t i = 0; i < STAGE_PEERS_MAX; i++)
        peer_stop(&s.peers[i]);
    if (s.dir[0] != 0)
        nftw(s.dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    if (!ok)
        say(&s, "FAILED: see the lines marked WRONG");
    else if (s.o.kill_leader)
        say(&s, "done: %s, although node %lld died in the middle; node %lld (term %lld) went on", s.play->end,
            s.leader_before, s.leader_after, s.term_after);
    else
        say(&s, "done: %s", s.play->end);
    return ok ? 0 : 1;
}
