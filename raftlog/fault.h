/* Turns a fault while reading a damaged map into a return code.  Private.
 *
 * LMDB trusts its tree pages: a damaged one sends it outside the map (SIGSEGV), a page the device cannot read
 * is SIGBUS, a page of the wrong kind fails one of its assertions.  Stopping is right in each case; a
 * sentence that names the directory and the way back is better than a core dump, and most damage is met at
 * start.  Only while opening and loading, only on the thread that does it; afterwards a fault kills the
 * process as it should. */
#ifndef RAFTLOG_FAULT_H
#define RAFTLOG_FAULT_H

/* Run `body`.  0: it returned; else the signal that ended it in the middle: what it held is lost, and what it
 * used must not be touched again. */
int fault_catch(void (*body)(void *data), void *data);

/* Call `callback` as if outside: a fault in it is a bug of ours, not damage. */
int fault_outside(int (*callback)(void *data, void *argument), void *data, void *argument);

/* End the innermost fault_catch() of this thread with SIGABRT; returns if there is none. */
void fault_raise(void);

#endif /* RAFTLOG_FAULT_H */
