/* assentd: reads what it is told, runs one node until it is asked to stop. */
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "backup.h"
#include "node.h"

extern char **environ;

#define EXIT_USAGE 64 /* sysexits: EX_USAGE */

/* ---- assentd recover ---- */

static void recover_help(FILE *out)
{
    fprintf(out, "assentd recover: after the majority of a cluster was lost FOR GOOD, make one surviving "
                 "node its only "
                 "voter\n\n"
                 "  assentd recover --id ID --data DIR --raft-address HOST:PORT --accept-lost-entries\n\n"
                 "The node must be stopped.  What the lost majority had committed and this node does not "
                 "hold is gone;\n"
                 "the old nodes are refused from then on and must be wiped and added again under new ids.\n"
                 "Choose the survivor with the highest log index (assentd prints it at start).\n");
}

static int recover(int argc, char **argv)
{
    static const struct option longs[] = {{"id", required_argument, NULL, 'i'},
                                          {"data", required_argument, NULL, 'd'},
                                          {"raft-address", required_argument, NULL, 'r'},
                                          {"accept-lost-entries", no_argument, NULL, 'a'},
                                          {"help", no_argument, NULL, 'h'},
                                          {0}};
    unsigned long long id = 0;
    const char *data = NULL, *address = NULL;
    bool accepted = false;
    for (int c; (c = getopt_long(argc, argv, "h", longs, NULL)) != -1;) {
        char *end = NULL;
        switch (c) {
        case 'i':
            id = strtoull(optarg, &end, 10);
            id = *end == 0 ? id : 0;
            break;
        case 'd':
            data = optarg;
            break;
        case 'r':
            address = optarg;
            break;
        case 'a':
            accepted = true;
            break;
        case 'h':
            recover_help(stdout);
            return EXIT_SUCCESS;
        default:
            return EXIT_USAGE;
        }
    }
    if (id == 0 || data == NULL || address == NULL || !accepted || optind < argc) {
        recover_help(stderr);
        fprintf(stderr,
                "\nassentd: --id, --data, --raft-address and --accept-lost-entries are all required\n");
        return EXIT_USAGE;
    }
    char err[512] = "";
    int status = raftlog_recover(data, id, address, err, sizeof err);
    if (status != ASSENT_OK) {
        fprintf(stderr, "assentd: recover failed: %s\n", err[0] ? err : assent_error_sentence(status));
        return EXIT_FAILURE;
    }
    printf("Node %llu is the only voter of its cluster now.  Start it with --cluster %llu=%s, then add fresh "
           "nodes.\n"
           "Nodes of the lost majority are refused for ever: wipe them and give them new ids.\n",
           id, id, address);
    return EXIT_SUCCESS;
}

/* ---- assentd ---- */

static void on_signal(uv_signal_t *signal, int number)
{
    struct node *node = signal->data;
    if (node->state != NODE_RUNNING) {
        log_write(&node->logger, LOG_WARNING, "killed", "signal=%d reason=asked twice to stop", number);
        _Exit(128 + number);
    }
    node_stop(node);
}

/* Many connections need many descriptors; the hard limit is the administrator's word. */
static void raise_file_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static int run(const struct config *config)
{
    static struct node node; /* large; the only one of this process */
    uv_loop_t loop;
    uv_signal_t signals[2];
    static const int numbers[2] = {SIGTERM, SIGINT};
    char err[CONFIG_ERROR_BYTES];
    signal(SIGPIPE, SIG_IGN);
    raise_file_limit();
    uv_loop_init(&loop);
    int opened = node_open(&node, &loop, config, err, sizeof err);
    if (opened != ASSENT_OK) {
        fprintf(stderr, "assentd: %s\n", err);
        uv_loop_close(&loop);
        /* Who starts us again must be able to tell a damaged log from a port in use. */
        return opened == ASSENT_CORRUPT ? NODE_EXIT_BROKEN : EXIT_FAILURE;
    }
    for (int i = 0; i < 2; i++) {
        uv_signal_init(&loop, &signals[i]);
        signals[i].data = &node;
        uv_signal_start(&signals[i], on_signal, numbers[i]);
        uv_unref((uv_handle_t *)&signals[i]);
    }
    uv_run(&loop, UV_RUN_DEFAULT);
    node_close(&node);
    for (int i = 0; i < 2; i++)
        uv_close((uv_handle_t *)&signals[i], NULL);
    uv_run(&loop, UV_RUN_DEFAULT);
    uv_loop_close(&loop);
    return EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "recover") == 0)
        return recover(argc - 1, argv + 1);
    if (argc > 1 && strcmp(argv[1], "restore") == 0)
        return backup_restore_main(argc - 1, argv + 1, environ);
    if (argc > 1 && strcmp(argv[1], "manual") == 0) {
        config_manual(stdout);
        return EXIT_SUCCESS;
    }
    struct config config;
    char err[CONFIG_ERROR_BYTES] = "";
    int status = EXIT_SUCCESS;
    switch (config_load(&config, argc, argv, environ, err, sizeof err)) {
    case CONFIG_HELP:
        config_help(stdout);
        break;
    case CONFIG_VERSION:
        printf("assentd %s\n", NODE_VERSION);
        break;
    case CONFIG_ERROR:
        fprintf(stderr, "assentd: %s\n", err);
        status = EXIT_USAGE;
        break;
    case CONFIG_RUN:
        status = run(&config);
        break;
    }
    config_close(&config);
    return status;
}
