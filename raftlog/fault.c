/* Signal handlers with a landing place, for reading maps that may be damaged. */
#include "fault.h"

#include <setjmp.h>
#include <signal.h>
#include <stddef.h>

/* Where to land; per thread because a signal handler gets no argument of ours. */
static _Thread_local sigjmp_buf *landing;

static void handle(int number)
{
    if (landing != NULL) {
        siglongjmp(*landing, number);
    }
    signal(number, SIG_DFL); /* not ours: die of it on return */
}

int fault_catch(void (*body)(void *data), void *data)
{
    sigjmp_buf here;
    sigjmp_buf *outer = landing;
    struct sigaction ours = {.sa_handler = handle, .sa_flags = SA_NODEFER}, segv, bus;
    sigemptyset(&ours.sa_mask);
    sigaction(SIGSEGV, &ours, &segv);
    sigaction(SIGBUS, &ours, &bus);
    int number = sigsetjmp(here, 0); /* SA_NODEFER blocks nothing, so there is no mask to restore */
    if (number == 0) {
        landing = &here;
        body(data);
    }
    landing = outer;
    sigaction(SIGSEGV, &segv, NULL);
    sigaction(SIGBUS, &bus, NULL);
    return number;
}

int fault_outside(int (*callback)(void *data, void *argument), void *data, void *argument)
{
    sigjmp_buf *inner = landing;
    landing = NULL;
    int rc = callback(data, argument);
    landing = inner;
    return rc;
}

void fault_raise(void)
{
    if (landing != NULL) {
        siglongjmp(*landing, SIGABRT);
    }
}
