/* Moves money between two services with libassent: begin, two branches, reserve, commit, and what to do when
 * an answer is missing.
 *
 *     cc transfer.c $(pkg-config --cflags --libs assent)
 *     ./a.out 127.0.0.1:7080,127.0.0.1:7081,127.0.0.1:7082 http://127.0.0.1:9001 http://127.0.0.1:9002 250
 *
 * Each service answers POST /confirm and POST /cancel: `assentd` calls one of them after the decision, again
 * and again until it gets a 2xx, with the xid, the branch and a fencing token in headers. */
#include <assent/client.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static void complain(const char *what, int rc)
{
    fprintf(stderr, "%s: %s (%s)\n", what, assent_error_sentence(rc), assent_error_name(rc));
}

/* Register the share of one service. */
static int add_branch(struct assent_client *client, const char *xid, const char *name, const char *service,
                      long cents)
{
    char confirm[512], cancel[512], payload[64];
    snprintf(confirm, sizeof confirm, "%s/confirm", service);
    snprintf(cancel, sizeof cancel, "%s/cancel", service);
    snprintf(payload, sizeof payload, "{\"cents\":%ld}", cents);
    const struct assent_txn_branch branch = {
        .branch = name, .confirm_url = confirm, .cancel_url = cancel, .payload_json = payload};
    return assent_txn_branch(client, xid, &branch);
}

/* The name is ours, so that a repetition after a lost answer finds the same transaction. */
static int make_xid(struct assent_client *client, char xid[ASSENT_XID_BYTES_MAX + 1])
{
    uint64_t stamp;
    int rc = assent_tso_get(client, 1, &stamp);
    if (rc == ASSENT_OK) {
        snprintf(xid, ASSENT_XID_BYTES_MAX + 1, "transfer-%" PRIu64, stamp);
    }
    return rc;
}

static int transfer(struct assent_client *client, const char *xid, const char *from, const char *to,
                    long cents)
{
    const struct assent_txn_options options = {.xid = xid, .business_type = "transfer", .timeout_ms = 30000};
    char got[ASSENT_XID_BYTES_MAX + 1];
    int rc = assent_txn_begin(client, &options, got);
    if (rc != ASSENT_OK) {
        complain("begin", rc);
        return rc;
    }
    rc = add_branch(client, xid, "debit", from, -cents);
    if (rc == ASSENT_OK) {
        rc = add_branch(client, xid, "credit", to, cents);
    }
    /* Here the program asks both services to reserve; a "no" from one of them is a reason to roll back. */
    if (rc != ASSENT_OK) {
        complain("branch", rc);
        int undone = assent_txn_rollback(client, xid, "a branch could not be registered");
        if (undone != ASSENT_OK) {
            complain("rollback", undone); /* not decided in 30 s, it rolls back by itself */
        }
        return rc;
    }
    do { /* the decision may be asked for as often as needed: it is taken once */
        rc = assent_txn_commit(client, xid);
    } while (assent_error_retry(rc) != ASSENT_RETRY_NEVER);
    if (rc != ASSENT_OK) {
        complain("commit", rc);
    }
    return rc;
}

static int await_end(struct assent_client *client, const char *xid)
{
    char status[32];
    for (int i = 0; i < 100; i++) {
        int rc = assent_txn_status(client, xid, status, sizeof status);
        if (rc != ASSENT_OK) {
            complain("status", rc);
            return 1;
        }
        if (strcmp(status, "COMMITTED") == 0) {
            printf("%s is committed, and both services have confirmed\n", xid);
            return 0;
        }
        nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
    }
    printf("%s is %s: decided, but a service has not confirmed yet; the cluster goes on calling it\n", xid,
           status);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "--version") == 0) {
        printf("libassent %s\n", assent_version());
        return 0;
    }
    if (argc != 5) {
        fprintf(stderr, "usage: %s ENDPOINTS FROM_URL TO_URL CENTS\n", argv[0]);
        return 2;
    }
    struct assent_options options;
    assent_options_init(&options);
    options.endpoints = argv[1];
    options.name = "transfer-example";
    struct assent_client *client;
    int rc = assent_open(&client, &options);
    if (rc != ASSENT_OK) {
        complain("open", rc);
        return 2;
    }
    char xid[ASSENT_XID_BYTES_MAX + 1];
    rc = make_xid(client, xid);
    if (rc != ASSENT_OK) {
        complain("timestamp", rc);
    } else {
        rc = transfer(client, xid, argv[2], argv[3], strtol(argv[4], NULL, 10));
    }
    int code = rc == ASSENT_OK ? await_end(client, xid) : 1;
    assent_close(client);
    return code;
}
