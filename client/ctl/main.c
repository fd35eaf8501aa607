/* assentctl: the operator's tool.  Options, endpoints, and which file a command belongs to. */
#include <curl/curl.h>
#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ctl.h"

/* Of names in headers; what the nodes refuse need not be sent. */
#define NAMESPACE_BYTES_MAX 47
#define ENDPOINTS_DEFAULT   "127.0.0.1:8080,127.0.0.1:8081,127.0.0.1:8082"

const char *ctl_login(void)
{
    const struct passwd *user = getpwuid(getuid());
    return user != NULL ? user->pw_name : "";
}

static void help(void)
{
    (void)printf(
        "usage: assentctl [--endpoints HOST:PORT,...] [--namespace NAME] [--timeout SECONDS] [--json]\n"
        "                 COMMAND ...\n\n"
        "  --endpoints LIST   HTTP addresses of nodes (ASSENT_ENDPOINTS; default\n"
        "                     %s)\n"
        "  --namespace NAME   whose transactions, resources and topics (ASSENT_NAMESPACE)\n"
        "  --timeout SECONDS  how long to try (default 10)\n"
        "  --json             results as JSON\n\n"
        "Further fields of any command: field=text or field:=json.  What operators change is on record:\n"
        "--by WHO (default: who is logged in) and --reason WHY with member, snapshot take, business, topic,\n"
        "settings and freeze.\n\n"
        "  %-52s %s\n  %-52s %s\n  %-52s %s\n  %-52s %s\n  %-52s %s\n"
        "  %-52s %s\n  %-52s %s\n  %-52s %s\n",
        ENDPOINTS_DEFAULT, "status", "nodes, roles, terms, indexes, lag",
        "local up [--nodes N] [--dir DIR] [-- FLAG...]",
        "start a cluster on this machine, or what is missing of it", "local down [--wipe]",
        "stop it; --wipe also removes its data", "local status", "its processes",
        "local kill [--leader|N] [--signal S]", "SIGKILL the leader or a node", "snapshot save FILE",
        "back the cluster up: take a snapshot, download and verify it",
        "snapshot restore FILE --id N --data DIR --cluster LIST",
        "build a member of a new cluster from a back-up (assentd restore)", "member replace OLD NEW ADDRESS",
        "put a new node in the place of a dead one; resumable");
    commands_help();
    acts_help();
    (void)printf("\nexit: 0 done, 1 refused, 2 usage, 3 unreachable or no leader, 4 unknown outcome\n");
}

static enum exit_code set_endpoints(struct ctl *ctl, const char *list)
{
    while (*list != '\0' && ctl->endpoints_n < ENDPOINTS_MAX) {
        if (strncmp(list, "http://", 7) == 0) {
            list += 7;
        }
        size_t size = strcspn(list, ",");
        char *one = strndup(list, size);
        list += size + (list[size] == ',');
        if (one == NULL || size == 0) {
            free(one);
            continue;
        }
        ctl->endpoints[ctl->endpoints_n++] = one; /* main() frees it */
        if (strpbrk(one, "/ @?#") != NULL || strchr(one, ':') == NULL) {
            return usage_error("--endpoints takes host:port,host:port, not '%s'", one);
        }
    }
    return ctl->endpoints_n > 0 ? EXIT_DONE : usage_error("--endpoints is empty");
}

const char *ctl_option(int argc, char **argv, int *at, const char *name)
{
    size_t size = strlen(name);
    if (strncmp(argv[*at], name, size) != 0) {
        return NULL;
    }
    if (argv[*at][size] == '=') {
        return argv[*at] + size + 1;
    }
    if (argv[*at][size] != '\0') {
        return NULL;
    }
    const char *value = *at + 1 < argc ? argv[++*at] : NULL;
    return value != NULL ? value : "";
}

static enum exit_code set_timeout(struct ctl *ctl, const char *text)
{
    char *end;
    errno = 0;
    double seconds = strtod(text, &end);
    if (errno != 0 || end == text || *end != '\0' || !(seconds >= 0.001 && seconds <= 86400)) {
        return usage_error("--timeout takes seconds, not '%s'", text);
    }
    ctl->timeout_ms = (uint32_t)(seconds * 1000);
    return EXIT_DONE;
}

/* --json behind the command, where hands put it; what follows a "--" is somebody else's. */
static int take_json(struct ctl *ctl, int from, int argc, char **argv)
{
    for (int i = from; i < argc && strcmp(argv[i], "--") != 0; i++) {
        if (strcmp(argv[i], "--json") == 0) {
            ctl->json = true;
            memmove(argv + i, argv + i + 1, (size_t)(argc - i) * sizeof *argv); /* with the NULL behind */
            argc--;
            i--;
        }
    }
    return argc;
}

static enum exit_code dispatch(struct ctl *ctl, int argc, char **argv)
{
    if (strcmp(argv[0], "help") == 0) {
        help();
        return EXIT_DONE;
    }
    if (strcmp(argv[0], "local") == 0) {
        return local_main(ctl, argc - 1, argv + 1);
    }
    if (strcmp(argv[0], "status") == 0) {
        return status_main(ctl, argc - 1, argv + 1);
    }
    if (strcmp(argv[0], "snapshot") == 0 && argc > 1 &&
        (strcmp(argv[1], "save") == 0 || strcmp(argv[1], "restore") == 0)) {
        return snapshot_main(ctl, argc - 1, argv + 1);
    }
    if (strcmp(argv[0], "member") == 0 && argc > 1 && strcmp(argv[1], "replace") == 0) {
        return replace_main(ctl, argc - 2, argv + 2);
    }
    if (strcmp(argv[0], "txn") == 0 && argc > 1 && act_known(argv[1])) {
        return act_main(ctl, argv[1], argc - 2, argv + 2);
    }
    return commands_run(ctl, argv[0], argc - 1, argv + 1);
}

int main(int argc, char **argv)
{
    struct ctl ctl = {.timeout_ms = 10000, .ns = getenv("ASSENT_NAMESPACE")};
    const char *endpoints = getenv("ASSENT_ENDPOINTS"), *value;
    int at = 1;
    enum exit_code code = EXIT_DONE;
    for (; at < argc && argv[at][0] == '-' && code == EXIT_DONE; at++) {
        if (strcmp(argv[at], "--json") == 0) {
            ctl.json = true;
        } else if (strcmp(argv[at], "--help") == 0 || strcmp(argv[at], "-h") == 0) {
            help();
            return EXIT_DONE;
        } else if (strcmp(argv[at], "--version") == 0) {
            (void)printf("assentctl %s\n", ASSENT_VERSION);
            return EXIT_DONE;
        } else if ((value = ctl_option(argc, argv, &at, "--endpoints")) != NULL) {
            endpoints = value;
        } else if ((value = ctl_option(argc, argv, &at, "--namespace")) != NULL) {
            ctl.ns = value;
        } else if ((value = ctl_option(argc, argv, &at, "--timeout")) != NULL) {
            code = set_timeout(&ctl, value);
        } else {
            code = usage_error("there is no option '%s' before the command", argv[at]);
        }
    }
    if (ctl.ns == NULL) {
        ctl.ns = "";
    }
    if (code == EXIT_DONE) {
        code = strlen(ctl.ns) <= NAMESPACE_BYTES_MAX && strpbrk(ctl.ns, "\r\n") == NULL
                   ? EXIT_DONE
                   : usage_error("a namespace has at most %d bytes in one line", NAMESPACE_BYTES_MAX);
    }
    if (code == EXIT_DONE) {
        code = set_endpoints(&ctl, endpoints != NULL ? endpoints : ENDPOINTS_DEFAULT);
    }
    if (code == EXIT_DONE && at == argc) {
        help();
        code = EXIT_USAGE;
    } else if (code == EXIT_DONE) {
        argc = take_json(&ctl, at, argc, argv);
        (void)curl_global_init(CURL_GLOBAL_DEFAULT); /* a failure shows at the first call */
        code = argc == at ? usage_error("--json is not a command") : dispatch(&ctl, argc - at, argv + at);
        curl_global_cleanup();
    }
    for (uint32_t i = 0; i < ctl.endpoints_n; i++) {
        free(ctl.endpoints[i]);
    }
    return (int)code;
}
