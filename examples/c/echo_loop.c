/* A TCP echo server on one event loop: echo_loop [PORT]
 *
 * It prints `listening 127.0.0.1:PORT` and ends at SIGTERM. What comes on a connection is received
 * in the loop's own buffer and sent back from there; only what the peer does not take at once is
 * copied and waits, and reading pauses while too much does. */
#include <libruntime/runtime.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Reading pauses while this much waits to be sent. */
enum { HIGH_WATER = 1 << 20 };

struct connection {
    struct connection *next, **link; /* all that are open, to be closed at the end */
    rt_stream *stream;
    int writes; /* that wait: their callbacks are still to come */
    int paused;
    int ended; /* nothing more comes */
};

/* A copy of what could not be sent at once. */
struct copy {
    struct connection *connection;
    char bytes[];
};

static rt_loop *loop;
static struct connection *connections;

static void *allocate(size_t size) {
    void *memory = calloc(1, size);
    if (memory == NULL) {
        fputs("echo_loop: out of memory\n", stderr);
        exit(1);
    }
    return memory;
}

static void close_connection(struct connection *connection) {
    rt_stream_free(connection->stream);
    *connection->link = connection->next;
    if (connection->next != NULL) connection->next->link = connection->link;
    free(connection);
}

static void received(void *data, const rt_result *result);

static void sent(void *data, const rt_result *result) {
    struct connection *connection = ((struct copy *)data)->connection;
    if (result->status != RT_OK) connection->ended = 1;
    if (--connection->writes > 0) return; /* another of these will come */
    if (connection->ended) {
        close_connection(connection);
    } else if (connection->paused) {
        connection->paused = 0;
        rt_stream_read_start(connection->stream, received, connection, NULL);
    }
}

static void received(void *data, const rt_result *result) {
    struct connection *connection = data;
    size_t n = 0, left;
    struct copy *copy;
    int status = result->status;
    if (status == RT_OK) {
        status = rt_stream_try_write(connection->stream, result->ptr, (size_t)result->n, &n);
        left = (size_t)result->n - n;
        if (status == RT_OK && left == 0) return;
        if (status == RT_OK || status == RT_EAGAIN) {
            copy = allocate(sizeof *copy + left);
            copy->connection = connection;
            memcpy(copy->bytes, (const char *)result->ptr + n, left);
            status = rt_stream_write(connection->stream, copy->bytes, left, NULL, sent, copy, free);
            if (status == RT_PENDING) connection->writes++;
            if (rt_stream_queued(connection->stream, &n) == RT_OK && n > HIGH_WATER) {
                connection->paused = 1;
                rt_stream_read_stop(connection->stream);
            }
        }
    }
    if (status >= 0) return;
    /* The end, or an error. What waits is sent first. */
    connection->ended = 1;
    if (connection->writes == 0) close_connection(connection);
}

static void accepted(void *data, const rt_result *result) {
    struct connection *connection;
    (void)data;
    if (result->status != RT_OK) {
        /* Out of descriptors, for example. The listener goes on by itself. */
        fprintf(stderr, "echo_loop: accept: %s\n", rt_strerror(result->status));
        return;
    }
    connection = allocate(sizeof *connection);
    connection->stream = result->ptr;
    connection->next = connections;
    connection->link = &connections;
    if (connections != NULL) connections->link = &connection->next;
    connections = connection;
    rt_stream_set_nodelay(connection->stream, 1);
    rt_stream_read_start(connection->stream, received, connection, NULL);
}

static void on_sigterm(int number) {
    (void)number;
    rt_loop_stop(loop);
}

int main(int argc, char **argv) {
    rt_listener *listener = NULL;
    struct connection *connection, *next;
    uint16_t port = argc > 1 ? (uint16_t)atoi(argv[1]) : 0;
    int status = rt_loop_new(NULL, &loop);
    if (status == RT_OK) status = rt_tcp_listen("127.0.0.1", port, NULL, &listener);
    if (status == RT_OK) status = rt_listener_local_addr(listener, NULL, 0, &port);
    if (status == RT_OK) status = rt_listener_start(listener, NULL, loop, accepted, NULL, NULL);
    if (status < 0) {
        fprintf(stderr, "echo_loop: %s\n", rt_strerror(status));
        rt_listener_free(listener);
        rt_loop_free(loop);
        return 1;
    }
    signal(SIGTERM, on_sigterm);
    printf("listening 127.0.0.1:%u\n", (unsigned)port);
    fflush(stdout);
    status = rt_loop_run(loop);
    /* Writes that still wait are cancelled: `sent` closes those connections in the next turn. */
    for (connection = connections; connection != NULL; connection = next) {
        next = connection->next;
        connection->ended = 1;
        rt_stream_close(connection->stream);
        if (connection->writes == 0) close_connection(connection);
    }
    rt_loop_turn(loop, 0);
    rt_listener_free(listener);
    rt_loop_free(loop);
    return status < 0;
}
