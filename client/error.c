/* The error table of assent/error.h as data: names, sentences, HTTP status and retry rule by code. */
#include "assent/error.h"

#include <stddef.h>
#include <string.h>

static const struct {
    int code;
    int http;
    enum assent_retry retry;
    const char *name;
    const char *sentence;
} rows[] = {
#define ROW(name, number, http, retry, sentence) {number, http, ASSENT_RETRY_##retry, #name, sentence},
    ASSENT_ERROR_MAP(ROW)
#undef ROW
};
#define ROWS (sizeof rows / sizeof rows[0])

/* ROWS when the code is in no row. */
static size_t row_of(int code)
{
    size_t i = 0;
    while (i < ROWS && rows[i].code != code)
        i++;
    return i;
}

const char *assent_error_name(int code)
{
    size_t i = row_of(code);
    return i < ROWS ? rows[i].name : "UNKNOWN_CODE";
}

const char *assent_error_sentence(int code)
{
    size_t i = row_of(code);
    return i < ROWS ? rows[i].sentence : "an error this version does not know";
}

int assent_error_http(int code)
{
    size_t i = row_of(code);
    return i < ROWS ? rows[i].http : 500;
}

enum assent_retry assent_error_retry(int code)
{
    size_t i = row_of(code);
    return i < ROWS ? rows[i].retry : ASSENT_RETRY_NEVER;
}

int assent_error_by_name(const char *name)
{
    for (size_t i = 0; i < ROWS; i++) {
        if (strcmp(rows[i].name, name) == 0)
            return rows[i].code;
    }
    return -1;
}
