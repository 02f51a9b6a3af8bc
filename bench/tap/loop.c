/*
 * What a plain loop moves through a pair of taps: a burst of 1500-byte frames written to the one, and read from the other.
 * loop TAP TAP SECONDS prints frames a second. Taps are opened as vmm opens them, or with `plain` in front without the
 * header for offloads.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

enum { BURST = 64, FRAME = 1500, HEADER = 12 };

static int with_header = 1;

static int open_tap(const char *name)
{
    struct ifreq request = { .ifr_flags = (short)(IFF_TAP | IFF_NO_PI | (with_header ? IFF_VNET_HDR : 0)) };
    int header = HEADER, fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    strncpy(request.ifr_name, name, IFNAMSIZ - 1);
    if (fd < 0 || ioctl(fd, TUNSETIFF, &request) != 0 || (with_header && ioctl(fd, TUNSETVNETHDRSZ, &header) != 0)) {
        perror(name);
        exit(1);
    }
    return fd;
}

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

int main(int count, char **arguments)
{
    static unsigned char frame[HEADER + FRAME], buffer[HEADER + 65550];
    static const unsigned char ethernet[] = { 2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x88, 0xb5 };
    if (count == 5 && strcmp(arguments[1], "plain") == 0) {
        with_header = 0;
        arguments++;
        count--;
    }
    if (count != 4)
        return 64;
    int from = open_tap(arguments[1]), to = open_tap(arguments[2]);
    size_t skip = with_header ? 0 : HEADER;
    memcpy(frame + HEADER, ethernet, sizeof ethernet);
    double start = now(), end = start + atof(arguments[3]);
    long frames = 0;
    while (now() < end) {
        for (int sent = 0; sent < BURST; sent++)
            if (write(from, frame + skip, sizeof frame - skip) < 0) {
                perror("write");
                return 1;
            }
        for (int got = 0; got < BURST;) {
            if (read(to, buffer, sizeof buffer) > 0) {
                got++;
                frames++;
            } else if (errno == EAGAIN) {
                struct pollfd ready = { .fd = to, .events = POLLIN };
                if (poll(&ready, 1, 1000) == 0)
                    break;      /* a frame was lost: go on with the next burst */
            } else {
                perror("read");
                return 1;
            }
        }
    }
    printf("%.0f\n", (double)frames / (now() - start));
    return 0;
}
