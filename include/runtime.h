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

/* == Version ============================================================================= */

/*
 Major version of this header.
 */
#define RT_VERSION_MAJOR 0

/*
 Minor version of this header.
 */
#define RT_VERSION_MINOR 1

/*
 Patch version of this header.
 */
#define RT_VERSION_PATCH 0

/*
 Version of the binary interface: the number in the name `libruntime.so.0`.
 */
#define RT_ABI_VERSION 0

/*
 The version of the library that the program runs with, as one number that can be compared:
 `major << 16 | minor << 8 | patch`. The header's own version is `RT_VERSION_MAJOR` and so on.

 @threads any @signal_safe
 */
RT_API
uint32_t rt_version(void);

/*
 The same version as a static string, "0.1.0".

 @threads any @signal_safe
 */
RT_API const char *rt_version_string(void);

/*
 The version of the binary interface. A program built against another value of
 `RT_ABI_VERSION` must not use this library.

 @threads any @signal_safe
 */
RT_API uint32_t rt_abi_version(void);

/* == Status ============================================================================== */

/*
 Done. Results are in the out-parameters.
 */
#define RT_OK 0

/*
 Not yet: the callback will come, the waker will be woken, or there is more to do.
 */
#define RT_PENDING 1

/*
 Not permitted from this thread: the object belongs to a loop that another thread owns.
 */
#define RT_EPERM -EPERM

/*
 An options struct of a newer version has a field set that this library does not know.
 */
#define RT_E2BIG -E2BIG

/*
 The descriptor is not open.
 */
#define RT_EBADF -EBADF

/*
 Nothing can be done at once, try again later.
 */
#define RT_EAGAIN -EAGAIN

/*
 Out of memory.
 */
#define RT_ENOMEM -ENOMEM

/*
 Busy: the loop is being turned already, or such an operation is pending on the object.
 */
#define RT_EBUSY -EBUSY

/*
 There is one already.
 */
#define RT_EEXIST -EEXIST

/*
 NULL, freed or of another type where a live handle is needed; an argument out of range.
 */
#define RT_EINVAL -EINVAL

/*
 The process has no descriptor left.
 */
#define RT_EMFILE -EMFILE

/*
 The peer does not read any more, or the sending side was shut down.
 */
#define RT_EPIPE -EPIPE

/*
 Blocking here would wait for itself: a worker or a turning loop must not block.
 */
#define RT_EDEADLK -EDEADLK

/*
 The address is in use.
 */
#define RT_EADDRINUSE -EADDRINUSE

/*
 The peer reset the connection.
 */
#define RT_ECONNRESET -ECONNRESET

/*
 Not connected.
 */
#define RT_ENOTCONN -ENOTCONN

/*
 The runtime or the loop was shut down.
 */
#define RT_ESHUTDOWN -ESHUTDOWN

/*
 The time limit passed.
 */
#define RT_ETIMEDOUT -ETIMEDOUT

/*
 Nobody listens at the address.
 */
#define RT_ECONNREFUSED -ECONNREFUSED

/*
 Finished, or under way, already.
 */
#define RT_EALREADY -EALREADY

/*
 Cancelled.
 */
#define RT_ECANCELED -ECANCELED

/*
 A panic inside the library or a callback was contained; the log has its message.
 */
#define RT_EPANIC -4001

/*
 The object was made before a `fork`, and this is the child.
 */
#define RT_EFORK -4002

/*
 The end of the stream: the peer has sent all it will send.
 */
#define RT_EOF -4003

/*
 The call needs a runtime, and the loop has none attached.
 */
#define RT_ENORUNTIME -4004

/*
 The name does not resolve to an address.
 */
#define RT_EAI_NONAME -4101

/*
 The name server failed for now, try again later.
 */
#define RT_EAI_AGAIN -4102

/*
 The name server failed for good.
 */
#define RT_EAI_FAIL -4103

/*
 The name could not be looked up for another reason.
 */
#define RT_EAI_OTHER -4104

/*
 The name of a status code: "RT_EINVAL" for a code that this header defines, the system's own
 name ("EXDEV") for any other error number, "RT_EUNKNOWN" for a value that is no code.
 The string is static: nothing is allocated, and it is never freed.

 @threads any @signal_safe
 */
RT_API
const char *rt_err_name(int code);

/*
 What a status code says, in words. The string is static: nothing is allocated, and it is never
 freed.

 @threads any @signal_safe
 */
RT_API
const char *rt_strerror(int code);

/* == User data =========================================================================== */



/* == Log ================================================================================= */

/*
 Something went wrong that a return value could not fully say.
 */
#define RT_LOG_ERROR 1

/*
 Something is probably a mistake.
 */
#define RT_LOG_WARN 2

/*
 Receives one line of the log: `len` bytes of UTF-8 at `message`, a NUL after them. It may be
 called on any thread, on several at once, also inside a call of this library: it must not block
 and must not call this library.
 */
typedef void (*rt_log_fn)(void *data, int32_t level, const char *message, size_t len);

/*
 Sets the function that receives the log of the whole process, in place of the one before; NULL
 for none. The log says what a status code cannot: the message of a contained panic. The library
 prints nothing by itself, and writes a line only when something has gone wrong.
 `drop(data)` is called once, after the last call of `callback`, when another function is set.
 Errors: none but `RT_EPANIC`.

 @threads any @consumes data
 */
RT_API
int rt_set_log_callback(rt_log_fn callback,
                        void *data,
                        rt_drop_fn drop);

/* == Handles ============================================================================= */

/*
 How many handles of all types have been given to C in this process and not been freed. For
 leak checks at the end of a program: it looks at every handle, so it is not for hot paths.

 @threads any
 */
RT_API size_t rt_handles_live(void);

#ifdef __cplusplus
}
#endif

#endif /* LIBRUNTIME_RUNTIME_H */
