/* A transaction and those nested in it, at any depth. */
#include <stdlib.h>

#include "nest.h"

/* One answer shows so many. */
#define TREE_ROWS_MAX 1000

struct tree_node {
    struct store_key xid;
    uint32_t depth; /* below the one that was asked for */
};

static void write_node(struct codec_writer *out, const struct tree_node *node, const struct txn *t)
{
    codec_map(out, 13);
    codec_pair_text(out, "xid", scoped_name(key_bytes(&node->xid), NULL));
    codec_pair_text(out, "parent", scoped_name(t->parent, NULL));
    codec_pair_uint(out, "depth", node->depth);
    codec_pair_cstr(out, "status", txn_status_name(t->status));
    codec_pair_cstr(out, "mode", txn_mode_name(t->mode));
    codec_pair_text(out, "businessType", t->business_type);
    codec_pair_text(out, "businessKey", t->business_key);
    codec_pair_text(out, "reason", t->reason);
    codec_pair_uint(out, "branchCount", t->branches);
    codec_pair_uint(out, "pendingCount", t->pending);
    codec_pair_uint(out, "nestedCount", t->children);
    codec_pair_int(out, "createdUs", t->created_us);
    codec_pair_int(out, "finishedUs", t->finished_us);
}

/* Parents before children, children in order of xid.  `stack` has room for all of them; its first is the top.
 */
static uint32_t walk(struct apply *a, struct codec_writer *out, struct tree_node *stack, uint32_t room,
                     uint32_t *left)
{
    uint32_t n = 1, shown = 0;
    struct store_key *children = malloc(room * sizeof(*children));
    assert(children != NULL);
    while (n > 0 && shown < TREE_ROWS_MAX) {
        struct tree_node node = stack[--n];
        struct txn t;
        if (!txn_load(a->txn, key_bytes(&node.xid), &t))
            continue;
        write_node(out, &node, &t);
        shown++;
        uint32_t of = t.children > 0 ? nest_children(a->txn, key_bytes(&node.xid), children, room - n) : 0;
        for (uint32_t i = of; i > 0; i--) {
            stack[n].xid = children[i - 1];
            stack[n++].depth = node.depth + 1;
        }
    }
    free(children);
    *left = n;
    return shown;
}

/* The outermost one around it that is still known. */
static struct store_key root_of(struct apply *a, struct assent_bytes xid, const struct txn *t)
{
    struct store_key root, up;
    struct txn above;
    key_init(&root);
    key_tail(&root, xid);
    key_init(&up);
    key_tail(&up, t->parent);
    for (int depth = 0; depth < NEST_DEPTH_MAX && up.size > 0 && txn_load(a->txn, key_bytes(&up), &above);
         depth++) {
        root = up;
        key_init(&up);
        key_tail(&up, above.parent);
    }
    return root;
}

int query_txn_tree(struct apply *a)
{
    struct assent_bytes xid = arg_bytes(a->command, QUERY_TXN_XID);
    struct txn t;
    struct codec_writer rows;
    uint32_t left;
    if (!txn_load(a->txn, xid, &t))
        return txn_not_found(a, xid);
    uint32_t room = t.children + 1; /* of the whole tree below it */
    struct tree_node *stack = malloc(room * sizeof(*stack));
    assert(stack != NULL);
    stack[0].depth = 0;
    key_init(&stack[0].xid);
    key_tail(&stack[0].xid, xid);
    codec_writer_init(&rows);
    uint32_t shown = walk(a, &rows, stack, room, &left);
    free(stack);
    struct store_key root = root_of(a, xid, &t);
    codec_map(a->out, 4);
    codec_pair_text(a->out, "xid", scoped_name(xid, NULL));
    codec_pair_text(a->out, "root", scoped_name(key_bytes(&root), NULL));
    codec_pair_uint(a->out, "omitted", left > 0 ? room - shown : 0);
    codec_cstr(a->out, "nodes");
    codec_list(a->out, shown);
    codec_raw(a->out, codec_written(&rows));
    codec_writer_close(&rows);
    return ASSENT_OK;
}
