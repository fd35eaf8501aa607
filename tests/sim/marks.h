/* What runs have hit of include/mark.h. */
#ifndef TESTS_SIM_MARKS_H
#define TESTS_SIM_MARKS_H

#include <stdbool.h>
#include <stdint.h>

/* Each mark with its hits since the start; false: one has none. */
bool marks_print(uint64_t runs);

#endif /* TESTS_SIM_MARKS_H */
