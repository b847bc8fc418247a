/* libruntime: tasks on every core, timers, sockets and an event loop that any host can embed. */
#ifndef LIBRUNTIME_RUNTIME_H
#define LIBRUNTIME_RUNTIME_H

#include <errno.h>
#include <stddef.h>
#include <stdint.h>

#ifndef RT_API
#define RT_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

@SECTIONS@
#ifdef __cplusplus
}
#endif

#endif /* LIBRUNTIME_RUNTIME_H */
