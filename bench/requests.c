/*
 * Asks a server at a Unix socket for the same thing again and again: requests SOCKET PATH CONNECTIONS SECONDS
 *
 * Each connection has one request on its way at a time (HTTP/1.1, kept open). Prints answers a second; fails at the first answer
 * that is not 200.
 */
#define _GNU_SOURCE
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { MOST = 256, ROOM = 1 << 16 };

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void die(const char *why)
{
    fprintf(stderr, "requests: %s\n", why);
    exit(1);
}

/* Bytes of a whole answer that begins there; 0 while some of it is missing. Content-Length or chunks. */
static size_t whole(const char *text)
{
    const char *body = strstr(text, "\r\n\r\n"), *length = strcasestr(text, "content-length:");
    if (body == NULL)
        return 0;
    body += 4;
    if (length != NULL && length < body) {
        size_t all = (size_t)(body - text) + strtoul(length + 15, NULL, 10);
        return strlen(text) >= all ? all : 0;
    }
    const char *end = strstr(body - 2, "\r\n0\r\n\r\n");
    return end != NULL ? (size_t)(end + 7 - text) : 0;
}

int main(int count, char **words)
{
    static char answers[MOST][ROOM];
    static size_t used[MOST];
    struct pollfd polls[MOST];
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    char request[512];
    if (count != 5)
        die("usage: requests SOCKET PATH CONNECTIONS SECONDS");
    int connections = atoi(words[3]);
    if (connections < 1 || connections > MOST || strlen(words[1]) >= sizeof address.sun_path)
        die("too many connections, or too long a path");
    strcpy(address.sun_path, words[1]);
    size_t length = (size_t)snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: vmmd\r\n\r\n", words[2]);
    for (int i = 0; i < connections; i++) {
        polls[i] = (struct pollfd){ .fd = socket(AF_UNIX, SOCK_STREAM, 0), .events = POLLIN };
        if (connect(polls[i].fd, (struct sockaddr *)&address, sizeof address) != 0
            || write(polls[i].fd, request, length) != (ssize_t)length)
            die("cannot connect");
    }
    double begin = now(), seconds = atof(words[4]);
    uint64_t done = 0;
    while (now() - begin < seconds) {
        if (poll(polls, (nfds_t)connections, 1000) <= 0)
            die("no answer within a second");
        for (int i = 0; i < connections; i++) {
            if (polls[i].revents == 0)
                continue;
            ssize_t got = read(polls[i].fd, answers[i] + used[i], ROOM - 1 - used[i]);
            if (got <= 0)
                die("the connection ended");
            used[i] += (size_t)got;
            answers[i][used[i]] = 0;
            if (whole(answers[i]) == 0)
                continue;
            if (strncmp(answers[i], "HTTP/1.1 200", 12) != 0)
                die(answers[i]);
            used[i] = 0;
            done++;
            if (write(polls[i].fd, request, length) != (ssize_t)length)
                die("the connection ended");
        }
    }
    printf("%.0f\n", (double)done / (now() - begin));
    return 0;
}
