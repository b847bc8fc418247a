/* A host with a loop of its own, on plain poll(2), embeds a loop of the library.
 *
 * The host sleeps in poll on two descriptors, one of its own and the loop's, without a timeout: the
 * loop's descriptor is readable whenever a turn would do something. In the loop there are a timer
 * that repeats, a TCP server with a client that talks to it, and work that another thread sends.
 * Meanwhile the thread also writes to the host's own pipe. When all has happened, the program says
 * so and ends; its exit status is 1 if something went wrong. */
#include <libruntime/runtime.h>

#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { TICKS = 5, POSTS = 3, WORDS = 3, MILLISECOND = 1000000 };

struct host {
    rt_loop *loop;
    rt_timer *timer;
    rt_listener *listener;
    rt_stream *server, *client;
    int pipe[2];
    int ticks, posts, words, answers;
    const char *fault;
};

static void fail(struct host *host, const char *what) {
    if (host->fault == NULL) host->fault = what;
}

static void on_tick(void *data) {
    struct host *host = data;
    if (++host->ticks == TICKS) rt_timer_stop(host->timer);
}

static void on_post(void *data) { ((struct host *)data)->posts++; }

/* Another thread: it may post to the loop and wake it, and nothing else. */
static void *other_thread(void *data) {
    struct host *host = data;
    int i;
    for (i = 0; i < POSTS; i++)
        if (rt_loop_post(host->loop, on_post, host, NULL) != RT_PENDING) return data;
    for (i = 0; i < WORDS; i++)
        if (write(host->pipe[1], "word", 4) != 4) return data;
    return NULL;
}

/* The server sends back what it gets. */
static void server_received(void *data, const rt_result *result) {
    struct host *host = data;
    size_t n = 0;
    if (result->status != RT_OK) {
        rt_stream_free(host->server);
        host->server = NULL;
    } else if (rt_stream_try_write(host->server, result->ptr, (size_t)result->n, &n) != RT_OK) {
        fail(host, "the server cannot answer");
    }
}

static void accepted(void *data, const rt_result *result) {
    struct host *host = data;
    if (result->status != RT_OK) {
        fail(host, "accept");
        return;
    }
    host->server = result->ptr;
    rt_stream_read_start(host->server, server_received, host, NULL);
}

/* The client asks again until it has had enough answers, and then hangs up. */
static void client_received(void *data, const rt_result *result) {
    struct host *host = data;
    size_t n;
    if (result->status != RT_OK) {
        fail(host, "the client lost its connection");
        return;
    }
    if (result->n != 5 || memcmp(result->ptr, "hello", 5) != 0) fail(host, "a wrong answer");
    if (++host->answers < 3) {
        if (rt_stream_try_write(host->client, "hello", 5, &n) != RT_OK) fail(host, "write");
    } else {
        rt_stream_free(host->client);
        host->client = NULL;
    }
}

static void connected(void *data, const rt_result *result) {
    struct host *host = data;
    size_t n;
    if (result->status != RT_OK) {
        fail(host, "connect");
        return;
    }
    host->client = result->ptr;
    rt_stream_read_start(host->client, client_received, host, NULL);
    if (rt_stream_try_write(host->client, "hello", 5, &n) != RT_OK) fail(host, "write");
}

static int start(struct host *host) {
    uint16_t port;
    int status = rt_timer_new(host->loop, on_tick, host, NULL, &host->timer);
    if (status == RT_OK) status = rt_timer_start(host->timer, MILLISECOND, 2 * MILLISECOND);
    if (status == RT_OK) status = rt_tcp_listen("127.0.0.1", 0, NULL, &host->listener);
    if (status == RT_OK) status = rt_listener_local_addr(host->listener, NULL, 0, &port);
    if (status == RT_OK)
        status = rt_listener_start(host->listener, NULL, host->loop, accepted, host, NULL);
    if (status == RT_PENDING)
        status = rt_tcp_connect(NULL, host->loop, "127.0.0.1", port, connected, host, NULL, NULL);
    return status;
}

static int done(const struct host *host) {
    return host->ticks == TICKS && host->posts == POSTS && host->answers == 3
            && host->words == 4 * WORDS && host->server == NULL;
}

int main(void) {
    struct host host;
    struct pollfd fds[2];
    pthread_t thread;
    void *thread_failed = NULL;
    int status, turns = 0;
    char words[64];

    memset(&host, 0, sizeof host);
    if (pipe(host.pipe) != 0) return perror("pipe"), 1;
    status = rt_loop_new(NULL, &host.loop);
    if (status == RT_OK) status = start(&host);
    if (status >= 0) status = rt_loop_backend_fd(host.loop, &fds[1].fd);
    if (status < 0 || pthread_create(&thread, NULL, other_thread, &host) != 0) {
        fprintf(stderr, "embed_poll: %s\n", rt_strerror(status));
        return 1;
    }

    fds[0].fd = host.pipe[0];
    fds[0].events = fds[1].events = POLLIN;
    while (!done(&host) && host.fault == NULL) {
        /* No timeout: the loop's timers make its descriptor readable as well. Ten seconds would
         * mean that something has gone wrong. */
        if (poll(fds, 2, 10000) <= 0) {
            fail(&host, "nothing happened for ten seconds");
            break;
        }
        if (fds[0].revents != 0) {
            ssize_t n = read(fds[0].fd, words, sizeof words);
            if (n > 0) host.words += (int)n;
        }
        if (fds[1].revents != 0) {
            turns++;
            if (rt_loop_turn(host.loop, 0) < 0) fail(&host, "a turn failed");
        }
    }

    pthread_join(thread, &thread_failed);
    if (thread_failed != NULL) fail(&host, "the other thread could not send");
    rt_stream_free(host.client);
    rt_stream_free(host.server);
    rt_listener_free(host.listener);
    rt_timer_free(host.timer);
    rt_loop_free(host.loop);
    close(host.pipe[0]);
    close(host.pipe[1]);
    if (host.fault != NULL) {
        fprintf(stderr, "embed_poll: %s\n", host.fault);
        return 1;
    }
    printf("embed_poll: %d ticks, %d posts, %d answers, %d turns inside poll(2)\n", host.ticks,
            host.posts, host.answers, turns);
    return 0;
}
