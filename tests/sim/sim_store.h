/* The state's store in memory, behind the interface of statemachine/store.h: the simulator links it in place
 * of LMDB's.
 *
 * Tables are persistent trees: a read transaction, a dump and a kept directory are each a root, and writing
 * copies the path it changes.  Directories and images live in the process under their path, until
 * sim_store_reset(). */
#ifndef TESTS_SIM_STORE_H
#define TESTS_SIM_STORE_H

/* Forget every directory and image; no store may be open. */
void sim_store_reset(void);
/* One image under another path too. */
void sim_store_copy(const char *from, const char *to);
/* Forget the image at `path`, if there is one. */
void sim_store_unlink(const char *path);

#endif /* TESTS_SIM_STORE_H */
