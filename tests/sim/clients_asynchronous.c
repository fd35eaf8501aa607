#include "clients.h"
void client_acknowledge(struct world *w, struct assent_bytes xid, struct assent_bytes branch, bool success)
{
    (void)w;
    (void)xid;
    (void)branch;
    (void)success;
}
void client_workflow_again(struct world *w, struct assent_bytes xid)
{
    (void)w;
    (void)xid;
}
