/* The floor under every Python program: the same two services on bare sockets, and a client for each.

     floor serve                                          prints the ports: one sends back what it gets, the other
                                                          answers eight bytes (a size, big-endian) with as many bytes
     floor rtt PORT BYTES CONNECTIONS FLIGHT SECONDS      messages of BYTES, FLIGHT of them under way on each connection
     floor fetch PORT SIZE SECONDS                        one after the other, into the same buffer

   The clients print a line of JSON. Linux (epoll); one thread. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define MOST_BLOB (16u << 20)
#define PIECE (256u << 10)
#define MOST_CONNECTIONS 1024
#define MOST_FLIGHT 1024
#define MOST_SAMPLES (8u << 20)

static char blob[MOST_BLOB], piece[PIECE];

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static double now(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static void no_delay(int fd) {
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

static void send_all(int fd, const char *data, size_t size) {
    while (size > 0) {
        ssize_t sent = send(fd, data, size, MSG_NOSIGNAL);
        if (sent < 0) {
            if (errno == EINTR) continue;
            if (errno == EPIPE || errno == ECONNRESET) return;
            fail("send");
        }
        data += sent;
        size -= (size_t)sent;
    }
}

static size_t receive_all(int fd, char *data, size_t size) {
    size_t done = 0;
    while (done < size) {
        ssize_t got = recv(fd, data + done, size - done, 0);
        if (got <= 0) break;
        done += (size_t)got;
    }
    return done;
}

static int listen_somewhere(uint16_t *port) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof at;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&at, size) < 0 || listen(fd, 4096) < 0) fail("listen");
    getsockname(fd, (struct sockaddr *)&at, &size);
    *port = ntohs(at.sin_port);
    return fd;
}

static int dial(int port) {
    struct sockaddr_in at = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&at, sizeof at) < 0) fail("connect");
    no_delay(fd);
    return fd;
}

static void watch(int poll, int fd, uint64_t what) {
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = what};
    if (epoll_ctl(poll, EPOLL_CTL_ADD, fd, &event) < 0) fail("epoll_ctl");
}

/* What a connection is, beside its descriptor, in the upper half of epoll's word. */
enum { LISTEN_ECHO, LISTEN_BLOB, ECHO, BLOB };

_Noreturn static void serve(void) {
    uint16_t echo_port, blob_port;
    int poll = epoll_create1(0), echoes = listen_somewhere(&echo_port), blobs = listen_somewhere(&blob_port);
    struct epoll_event ready[64];
    for (size_t i = 0; i < MOST_BLOB; i++) blob[i] = (char)(i * 2654435761u >> 24);
    watch(poll, echoes, (uint64_t)LISTEN_ECHO << 32 | (unsigned)echoes);
    watch(poll, blobs, (uint64_t)LISTEN_BLOB << 32 | (unsigned)blobs);
    printf("ready 127.0.0.1:%d 127.0.0.1:%d\n", echo_port, blob_port);
    fflush(stdout);
    for (;;) {
        int count = epoll_wait(poll, ready, 64, -1);
        for (int i = 0; i < count; i++) {
            int fd = (int)(uint32_t)ready[i].data.u64, kind = (int)(ready[i].data.u64 >> 32);
            if (kind <= LISTEN_BLOB) {
                int fresh = accept(fd, NULL, NULL);
                if (fresh < 0) continue;
                no_delay(fresh);
                watch(poll, fresh, (uint64_t)(kind == LISTEN_ECHO ? ECHO : BLOB) << 32 | (unsigned)fresh);
            } else if (kind == ECHO) {
                ssize_t got = recv(fd, piece, PIECE, 0);
                if (got > 0) send_all(fd, piece, (size_t)got);
                else close(fd);
            } else {
                uint64_t size;
                if (receive_all(fd, (char *)&size, sizeof size) == sizeof size && be64toh(size) <= MOST_BLOB)
                    send_all(fd, blob, be64toh(size));
                else
                    close(fd);
            }
        }
    }
}

static int by_size(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static double share(const float *sorted, size_t count, double part) {
    size_t at = (size_t)(part * (double)count);
    return sorted[at < count ? at : count - 1];
}

/* A connection: when its messages left (a ring, answers come in order), and the bytes of an answer that came in part. */
struct lane {
    int fd;
    size_t part, head;
    double left[MOST_FLIGHT];
};

static int rtt(int port, size_t bytes, int connections, int flight, double seconds) {
    static struct lane lanes[MOST_CONNECTIONS];
    float *took = malloc(MOST_SAMPLES * sizeof *took);
    size_t count = 0;
    int poll = epoll_create1(0);
    if (connections > MOST_CONNECTIONS || flight > MOST_FLIGHT || bytes * (size_t)flight > PIECE || took == NULL) return 2;
    for (int i = 0; i < connections; i++) {
        lanes[i].fd = dial(port);
        watch(poll, lanes[i].fd, (uint64_t)i);
    }
    double begin = now(CLOCK_MONOTONIC), cpu = now(CLOCK_PROCESS_CPUTIME_ID), end = begin + seconds, at = begin;
    for (int i = 0; i < connections; i++) {
        for (int k = 0; k < flight; k++) lanes[i].left[k] = at;
        send_all(lanes[i].fd, blob, bytes * (size_t)flight);
    }
    while (at < end) {
        struct epoll_event ready[64];
        int woken = epoll_wait(poll, ready, 64, 1000);
        for (int i = 0; i < woken; i++) {
            struct lane *lane = &lanes[ready[i].data.u64];
            ssize_t got = recv(lane->fd, piece, PIECE, 0);
            if (got <= 0) fail("recv");
            size_t whole = (lane->part + (size_t)got) / bytes;
            lane->part = (lane->part + (size_t)got) % bytes;
            at = now(CLOCK_MONOTONIC);
            for (size_t k = 0; k < whole; k++) {
                if (count < MOST_SAMPLES) took[count++] = (float)(at - lane->left[lane->head]);
                lane->left[lane->head] = at;
                lane->head = (lane->head + 1) % (size_t)flight;
            }
            if (whole > 0) send_all(lane->fd, blob, bytes * whole);
        }
        at = now(CLOCK_MONOTONIC);
    }
    cpu = now(CLOCK_PROCESS_CPUTIME_ID) - cpu;
    qsort(took, count, sizeof *took, by_size);
    printf("{\"count\": %zu, \"p50_us\": %f, \"p99_us\": %f, \"per_s\": %f, \"client_cpu_s\": %f}\n", count,
           share(took, count, 0.5) * 1e6, share(took, count, 0.99) * 1e6, (double)count / (at - begin), cpu);
    return count == 0;
}

static int fetch(int port, size_t size, double seconds) {
    float *took = malloc(MOST_SAMPLES * sizeof *took);
    size_t count = 0;
    int fd = dial(port);
    uint64_t asked = htobe64(size);
    if (size > MOST_BLOB || took == NULL) return 2;
    double begin = now(CLOCK_MONOTONIC), cpu = now(CLOCK_PROCESS_CPUTIME_ID), end = begin + seconds, at = begin;
    while ((at < end || count < 3) && count < MOST_SAMPLES) {
        send_all(fd, (char *)&asked, sizeof asked);
        if (receive_all(fd, blob, size) != size) fail("recv");
        double then = at;
        at = now(CLOCK_MONOTONIC);
        took[count++] = (float)(at - then);
    }
    cpu = now(CLOCK_PROCESS_CPUTIME_ID) - cpu;
    qsort(took, count, sizeof *took, by_size);
    printf("{\"count\": %zu, \"p50_us\": %f, \"mb_per_s\": %f, \"client_cpu_s\": %f}\n", count,
           share(took, count, 0.5) * 1e6, (double)count * (double)size / (at - begin) / 1e6, cpu);
    return 0;
}

int main(int argc, char **argv) {
    if (argc == 2 && strcmp(argv[1], "serve") == 0) serve();
    if (argc == 7 && strcmp(argv[1], "rtt") == 0)
        return rtt(atoi(argv[2]), (size_t)atol(argv[3]), atoi(argv[4]), atoi(argv[5]), atof(argv[6]));
    if (argc == 5 && strcmp(argv[1], "fetch") == 0) return fetch(atoi(argv[2]), (size_t)atol(argv[3]), atof(argv[4]));
    fprintf(stderr, "usage: floor serve | rtt PORT BYTES CONNECTIONS FLIGHT SECONDS | fetch PORT SIZE SECONDS\n");
    return 2;
}
