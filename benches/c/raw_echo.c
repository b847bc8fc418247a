/*
 * A TCP echo server with nothing between it and the kernel: one thread, one level-triggered epoll.
 * The ceiling for every other echo server. Prints `listening 127.0.0.1:PORT`, runs until it is killed.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common.h"

enum { MAX_EVENTS = 1024, BUFFER = 64 * 1024 };

/* What a full socket would not take yet; while there is any, nothing more is read. */
struct peer {
    int fd;
    size_t start, end;
    char *pending;
};

static char buffer[BUFFER];

static void watch(int epoll, int operation, struct peer *peer, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = peer};
    die_if(epoll_ctl(epoll, operation, peer->fd, &event) < 0, "epoll_ctl");
}

static void drop_peer(struct peer *peer)
{
    close(peer->fd);
    free(peer->pending);
    free(peer);
}

static void accept_all(int epoll, int listener)
{
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) {
            die_if(errno != EAGAIN && errno != ECONNABORTED && errno != EINTR, "accept4");
            return;
        }
        int one = 1;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        struct peer *peer = calloc(1, sizeof *peer);
        die_if(!peer, "calloc");
        peer->fd = fd;
        watch(epoll, EPOLL_CTL_ADD, peer, EPOLLIN);
    }
}

static void echo(int epoll, struct peer *peer)
{
    ssize_t n = recv(peer->fd, buffer, BUFFER, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        drop_peer(peer);
        return;
    }
    ssize_t sent = send(peer->fd, buffer, (size_t)n, MSG_NOSIGNAL);
    if (sent == n)
        return;
    if (sent < 0 && errno != EAGAIN) {
        drop_peer(peer);
        return;
    }
    if (!peer->pending)
        peer->pending = malloc(BUFFER);
    die_if(!peer->pending, "malloc");
    size_t done = sent < 0 ? 0 : (size_t)sent;
    memcpy(peer->pending, buffer + done, (size_t)n - done);
    peer->start = 0;
    peer->end = (size_t)n - done;
    watch(epoll, EPOLL_CTL_MOD, peer, EPOLLOUT);
}

static void flush(int epoll, struct peer *peer)
{
    ssize_t n = send(peer->fd, peer->pending + peer->start, peer->end - peer->start, MSG_NOSIGNAL);
    if (n < 0) {
        if (errno != EAGAIN)
            drop_peer(peer);
        return;
    }
    peer->start += (size_t)n;
    if (peer->start == peer->end)
        watch(epoll, EPOLL_CTL_MOD, peer, EPOLLIN);
}

int main(void)
{
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    die_if(listener < 0 || bind(listener, (struct sockaddr *)&address, length) < 0 || listen(listener, 1024) < 0,
           "listen");
    getsockname(listener, (struct sockaddr *)&address, &length);
    printf("listening 127.0.0.1:%d\n", ntohs(address.sin_port));
    fflush(stdout);

    int epoll = epoll_create1(EPOLL_CLOEXEC);
    die_if(epoll < 0, "epoll_create1");
    struct peer server = {.fd = listener};
    watch(epoll, EPOLL_CTL_ADD, &server, EPOLLIN);
    for (;;) {
        struct epoll_event events[MAX_EVENTS];
        int n = epoll_wait(epoll, events, MAX_EVENTS, -1);
        for (int i = 0; i < n; i++) {
            struct peer *peer = events[i].data.ptr;
            if (peer == &server)
                accept_all(epoll, listener);
            else if (events[i].events & EPOLLOUT)
                flush(epoll, peer);
            else
                echo(epoll, peer);
        }
    }
}
