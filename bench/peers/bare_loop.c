/* What the kernel charges for N calls of send(), and nothing else: the floor under every figure of this benchmark.
 *
 *   bare_loop PORT single    one send() per message and subscriber
 *   bare_loop PORT joined    the messages of one read leave in one send() per subscriber
 *
 *   GET /ws            subscribes            GET /pub     publishes to all
 *   GET /room?r0001    subscribes to a room  GET /proom   publishes to the room named by a message's first five bytes
 *   GET /sse           subscribes to events  GET /echo    gets its own messages back
 *
 * It is no server: one thread, one publisher, an answer to the upgrade that is a constant (the generator always sends
 * the key of RFC 6455 §1.3), a request head that must come in one segment, and rooms that nobody leaves. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MAX_FD = 20100, MAX_ROOMS = 2048, MAX_READERS = 4096, READ_SIZE = 1 << 16, TAIL_SIZE = 1 << 18 };

typedef unsigned char byte;

static enum kind { NEW, SUBSCRIBER, PUBLISHER, ECHO, ROOM_SUBSCRIBER, ROOM_PUBLISHER } kind[MAX_FD];
static int subscribers[MAX_FD], place[MAX_FD], subscriber_count;
static int joined, events;

static struct room {
    int fd[MAX_READERS], readers;
    size_t length;
    byte out[1 << 14];
} rooms[MAX_ROOMS];
static struct room *dirty[MAX_ROOMS];
static int dirty_count;

static byte in[1 << 20], out[1 << 21];
static byte tail[TAIL_SIZE]; /* the publisher's unfinished frame */
static size_t tail_length;

static void send_all(int fd, const byte *bytes, size_t length) {
    while (length) {
        ssize_t sent = send(fd, bytes, length, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0) {
            if (errno != EAGAIN) return;
            struct pollfd full = {fd, POLLOUT, 0};
            poll(&full, 1, 1000);
            continue;
        }
        bytes += sent;
        length -= sent;
    }
}

static void fan_out(const byte *bytes, size_t length) {
    for (int i = 0; i < subscriber_count; i++) send_all(subscribers[i], bytes, length);
}

static void flush_rooms(void) {
    for (int i = 0; i < dirty_count; i++) {
        struct room *room = dirty[i];
        for (int j = 0; j < room->readers; j++) send_all(room->fd[j], room->out, room->length);
        room->length = 0;
    }
    dirty_count = 0;
}

/* Writes the message as a server's frame, or as an event; returns its length. */
static size_t encode(byte *to, const byte *message, size_t length) {
    if (events) {
        memcpy(to, "data: ", 6);
        memcpy(to + 6, message, length);
        memcpy(to + 6 + length, "\n\n", 2);
        return length + 8;
    }
    size_t head = 0;
    to[head++] = 0x81;
    if (length < 126) {
        to[head++] = length;
    } else if (length < 65536) {
        to[head++] = 126;
        to[head++] = length >> 8;
        to[head++] = length;
    } else {
        to[head++] = 127;
        for (int shift = 56; shift >= 0; shift -= 8) to[head++] = length >> shift;
    }
    memcpy(to + head, message, length);
    return head + length;
}

static void publish_to_room(const byte *message, size_t length) {
    int number = (message[1] - '0') * 1000 + (message[2] - '0') * 100 + (message[3] - '0') * 10 + message[4] - '0';
    struct room *room = &rooms[number & (MAX_ROOMS - 1)];
    if (room->length + length + 16 > sizeof room->out) flush_rooms();
    if (!room->length) dirty[dirty_count++] = room;
    room->length += encode(room->out + room->length, message, length);
    if (!joined) flush_rooms();
}

/* Sends what has been collected in `out`. */
static void send_out(int fd, size_t length) {
    if (!length) return;
    if (kind[fd] == ECHO) send_all(fd, out, length);
    else fan_out(out, length);
}

/* Handles the whole frames in `bytes`; returns how much that was. */
static size_t handle_frames(int fd, byte *bytes, size_t have) {
    size_t at = 0, collected = 0;
    while (have - at >= 6) {
        byte *frame = bytes + at;
        size_t length = frame[1] & 127, head = 2;
        if (length == 126) {
            length = frame[2] << 8 | frame[3];
            head = 4;
        } else if (length == 127) {
            if (have - at < 14) break;
            length = 0;
            for (int i = 2; i < 10; i++) length = length << 8 | frame[i];
            head = 10;
        }
        if (have - at < head + 4 + length) break;
        byte *mask = frame + head, *message = mask + 4;
        for (size_t i = 0; i < length; i++) message[i] ^= mask[i & 3];
        at += head + 4 + length;

        int opcode = frame[0] & 15;
        if (opcode != 1 && opcode != 2) continue;
        if (kind[fd] == ROOM_PUBLISHER) {
            publish_to_room(message, length);
        } else if (kind[fd] == ECHO || joined) {
            if (collected + length + 16 > sizeof out) {
                send_out(fd, collected);
                collected = 0;
            }
            collected += encode(out + collected, message, length);
        } else {
            fan_out(out, encode(out, message, length));
        }
    }
    flush_rooms();
    send_out(fd, collected);
    return at;
}

static int begins(const char *head) { return !memcmp(in, head, strlen(head)); }

static void handle_request(int fd) {
    static const char upgraded[] = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                                   "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
    static const char streaming[] = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n";
    if (begins("GET /pub")) {
        kind[fd] = PUBLISHER;
    } else if (begins("GET /proom")) {
        kind[fd] = ROOM_PUBLISHER;
    } else if (begins("GET /room?r")) {
        struct room *room = &rooms[atoi((char *)in + strlen("GET /room?r")) & (MAX_ROOMS - 1)];
        kind[fd] = ROOM_SUBSCRIBER;
        if (room->readers < MAX_READERS) room->fd[room->readers++] = fd;
    } else if (begins("GET /echo")) {
        kind[fd] = ECHO;
    } else {
        kind[fd] = SUBSCRIBER;
        place[fd] = subscriber_count;
        subscribers[subscriber_count++] = fd;
    }
    if (begins("GET /sse")) {
        events = 1;
        send_all(fd, (const byte *)streaming, sizeof streaming - 1);
    } else {
        send_all(fd, (const byte *)upgraded, sizeof upgraded - 1);
    }
}

static void drop(int fd) {
    if (kind[fd] == SUBSCRIBER) {
        int last = subscribers[--subscriber_count];
        subscribers[place[fd]] = last;
        place[last] = place[fd];
    }
    kind[fd] = NEW;
    close(fd);
}

static void handle_input(int fd) {
    int publishes = kind[fd] == PUBLISHER || kind[fd] == ROOM_PUBLISHER;
    size_t kept = publishes ? tail_length : 0;
    if (kept) memcpy(in, tail, kept);
    ssize_t count = recv(fd, in + kept, publishes ? TAIL_SIZE / 2 : READ_SIZE, 0);
    if (count <= 0) {
        if (count == 0 || errno != EAGAIN) drop(fd);
        return;
    }
    if (kind[fd] == NEW) {
        handle_request(fd);
        return;
    }
    size_t have = kept + count, used = handle_frames(fd, in, have);
    if (publishes) {
        tail_length = have - used;
        memcpy(tail, in + used, tail_length);
    }
}

static void accept_all(int listener, int epoll) {
    int fd, on = 1;
    while ((fd = accept4(listener, 0, 0, SOCK_NONBLOCK)) >= 0) {
        if (fd >= MAX_FD) {
            close(fd);
            continue;
        }
        struct epoll_event event = {EPOLLIN, {.fd = fd}};
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        kind[fd] = NEW;
        epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
    }
}

int main(int argc, char **argv) {
    if (argc != 3 || (strcmp(argv[2], "single") && strcmp(argv[2], "joined"))) {
        fprintf(stderr, "usage: bare_loop PORT single|joined\n");
        return 2;
    }
    joined = !strcmp(argv[2], "joined");
    int on = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), epoll = epoll_create1(0);
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(atoi(argv[1])), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener, (void *)&address, sizeof address) || listen(listener, 4096)) {
        perror("bare_loop: listen");
        return 1;
    }
    struct epoll_event event = {EPOLLIN, {.fd = listener}}, ready[512];
    epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event);
    for (;;) {
        int count = epoll_wait(epoll, ready, 512, -1);
        for (int i = 0; i < count; i++) {
            if (ready[i].data.fd == listener) accept_all(listener, epoll);
            else handle_input(ready[i].data.fd);
        }
    }
}
