/* Operating on transactions: `txn retry|skip|force|pause|resume|back`, on one, or with --all on every
 * unfinished one that a filter finds, page by page.
 *
 * Each page is a request with a key of its own, so a lost answer is asked for again and nothing is done
 * twice.  A page that fails for good ends the command, which then says where to go on. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctl.h"

#define BASE "/api/v1"

static const char *const acts[] = {"retry", "skip", "force", "pause", "resume", "back"};

bool act_known(const char *verb)
{
    for (size_t i = 0; i < sizeof acts / sizeof *acts; i++) {
        if (strcmp(acts[i], verb) == 0) {
            return true;
        }
    }
    return false;
}

void acts_help(void)
{
    (void)printf("  %-52s %s\n  %-52s %s\n", "txn retry|skip|force|pause|resume|back XID",
                 "operate on a transaction; --by WHO --reason WHY, skip: --branch B",
                 "txn retry|force|pause|resume|back --all FILTER=...",
                 "on all a filter finds: status= mode= errorText= olderThanMs= ...");
}

struct act {
    const char *verb, *xid, *by, *reason, *branch;
    bool all;
    json_t *body;
};

/* Filters whose values are no texts. */
static json_t *filter_value(const char *name, const char *text)
{
    static const char *const numbers[] = {"limit", "fromUs", "toUs", "olderThanMs"};
    if (strcmp(name, "failing") == 0) {
        return strcmp(text, "true") == 0 ? json_true() : strcmp(text, "false") == 0 ? json_false() : NULL;
    }
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        if (strcmp(numbers[i], name) == 0) {
            char *end;
            long long number = strtoll(text, &end, 10);
            return end != text && *end == '\0' && number >= 0 ? json_integer(number) : NULL;
        }
    }
    return json_string(text);
}

static enum exit_code take_filter(struct act *act, const char *argument)
{
    const char *equals = strchr(argument, '=');
    char name[64];
    if (!act->all || equals == NULL || equals == argument || (size_t)(equals - argument) >= sizeof name) {
        return usage_error("'%s' is one argument too many for 'txn %s'", argument, act->verb);
    }
    (void)snprintf(name, sizeof name, "%.*s", (int)(equals - argument), argument);
    json_t *value = filter_value(name, equals + 1);
    if (value == NULL || json_object_set_new(act->body, name, value) != 0) {
        return usage_error("%s: '%s' is no value for it", name, equals + 1);
    }
    return EXIT_DONE;
}

static enum exit_code take(struct act *act, int argc, char **argv)
{
    for (int i = 0; i < argc; i++) {
        act->all = act->all || strcmp(argv[i], "--all") == 0;
    }
    enum exit_code code = EXIT_DONE;
    for (int i = 0; i < argc && code == EXIT_DONE; i++) {
        const char *value;
        if (strcmp(argv[i], "--all") == 0) {
            continue;
        } else if ((value = ctl_option(argc, argv, &i, "--by")) != NULL) {
            act->by = value;
        } else if ((value = ctl_option(argc, argv, &i, "--reason")) != NULL) {
            act->reason = value;
        } else if ((value = ctl_option(argc, argv, &i, "--branch")) != NULL) {
            act->branch = value;
        } else if (strncmp(argv[i], "--", 2) == 0) {
            code = usage_error("'txn %s' has no option '%s'", act->verb, argv[i]);
        } else if (act->xid == NULL && !act->all) {
            act->xid = argv[i];
        } else {
            code = take_filter(act, argv[i]);
        }
    }
    return code;
}

static enum exit_code check(struct act *act)
{
    bool skip = strcmp(act->verb, "skip") == 0;
    if (act->by == NULL || act->by[0] == '\0' || act->reason == NULL || act->reason[0] == '\0') {
        return usage_error("'txn %s' needs --by and --reason: it goes on record", act->verb);
    }
    if (act->xid == NULL && !act->all) {
        return usage_error("'txn %s' needs an xid, or --all and filters", act->verb);
    }
    if (skip && act->all) {
        return usage_error("a branch is skipped in one transaction at a time");
    }
    if (skip != (act->branch != NULL)) {
        return usage_error("--branch belongs to skip");
    }
    if (act->all && json_object_size(act->body) == 0) {
        return usage_error("--all needs a filter: status=, mode=, errorText=, olderThanMs= or another");
    }
    bool texts = json_object_set_new(act->body, "by", json_string(act->by)) == 0 &&
                 json_object_set_new(act->body, "reason", json_string(act->reason)) == 0 &&
                 (!skip || json_object_set_new(act->body, "branch", json_string(act->branch)) == 0);
    return texts ? EXIT_DONE : usage_error("--by, --reason or --branch is not UTF-8");
}

static enum exit_code act_on_one(const struct ctl *ctl, const struct act *act)
{
    char path[4096] = BASE "/transaction/";
    struct answer a;
    if (!api_escape(path, sizeof path - 16, act->xid)) {
        return usage_error("the xid is too long");
    }
    (void)snprintf(path + strlen(path), sizeof path - strlen(path), "/%s", act->verb);
    api_call(ctl, "POST", path, act->body, false, &a);
    enum exit_code code = a.code;
    if (code != EXIT_DONE) {
        (void)show_failure(ctl, &a);
    } else if (ctl->json) {
        show_json(a.data);
    } else {
        show_value(a.data, NULL);
    }
    api_close(&a);
    return code;
}

static enum exit_code act_on_all(const struct ctl *ctl, const struct act *act)
{
    char path[128];
    json_int_t acted = 0, refused = 0;
    char next[512] = "";
    struct answer a;
    (void)snprintf(path, sizeof path, BASE "/transactions/%s", act->verb);
    do {
        api_call(ctl, "POST", path, act->body, false, &a);
        if (a.code != EXIT_DONE) {
            break;
        }
        acted += json_integer_value(json_object_get(a.data, "acted"));
        refused += json_integer_value(json_object_get(a.data, "refused"));
        const char *place = json_string_value(json_object_get(a.data, "next"));
        (void)snprintf(next, sizeof next, "%s", place != NULL ? place : "");
        if (next[0] != '\0') {
            (void)json_object_set_new(act->body, "after", json_string(next));
            api_close(&a);
        }
    } while (next[0] != '\0');
    enum exit_code code = a.code;
    if (code != EXIT_DONE) {
        (void)show_failure(ctl, &a);
        (void)fprintf(stderr, "assentctl: %lld acted on, %lld refused before; go on with%s%s\n",
                      (long long)acted, (long long)refused, next[0] != '\0' ? " after=" : " the same command",
                      next);
    } else if (ctl->json) {
        json_t *sums = json_pack("{s:I, s:I}", "acted", acted, "refused", refused);
        show_json(sums);
        json_decref(sums);
    } else {
        (void)printf("%lld acted on, %lld refused\n", (long long)acted, (long long)refused);
    }
    api_close(&a);
    return code;
}

enum exit_code act_main(const struct ctl *ctl, const char *verb, int argc, char **argv)
{
    struct act act = {.verb = verb, .body = json_object()};
    enum exit_code code = take(&act, argc, argv);
    if (code == EXIT_DONE) {
        code = check(&act);
    }
    if (code == EXIT_DONE) {
        code = act.all ? act_on_all(ctl, &act) : act_on_one(ctl, &act);
    }
    json_decref(act.body);
    return code;
}
