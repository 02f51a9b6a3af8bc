/*
 * A two-way stream of bytes over an emulated ATA disk, for an emulator that offers no better way: Bochs has neither 9p nor
 * virtio, and its serial lines take 11 KB in an emulated second. The outer half reads and writes the disk's file, the
 * inner half the disk.
 *
 * The disk holds two logs, one for each direction, that only grow. A log is a row of sectors; each is written once,
 * by one side, and then belongs to the other.
 */
#ifndef VT_X_MAILBOX_H
#define VT_X_MAILBOX_H

#include <stdint.h>
#include <string.h>

enum { SECTOR = 512, SECTOR_BYTES = SECTOR - 12, BATCH = 128 };

/* A sector whose two marks are the number that is due, from 1 on, has been written to its end. */
struct sector {
    uint32_t mark;
    uint32_t length;
    char bytes[SECTOR_BYTES];
    uint32_t mark_again;
};

#define INWARDS_AT  ((uint64_t)0)
#define OUTWARDS_AT ((uint64_t)1 << 30)
#define DISK_SIZE   ((uint64_t)8 << 30)

static inline int sector_has(const volatile struct sector *sector, uint32_t mark)
{
    return sector->mark == mark && sector->mark_again == mark && sector->length <= SECTOR_BYTES;
}

/* Cuts bytes into sectors; returns how many were filled. */
static inline uint32_t sectors_fill(struct sector *sectors, uint32_t first_mark, const char *bytes, size_t count)
{
    uint32_t used = 0;
    while (count != 0) {
        struct sector *sector = &sectors[used];
        size_t part = count < SECTOR_BYTES ? count : SECTOR_BYTES;
        memset(sector, 0, sizeof *sector);
        sector->mark = sector->mark_again = first_mark + used++;
        sector->length = (uint32_t)part;
        memcpy(sector->bytes, bytes, part);
        bytes += part;
        count -= part;
    }
    return used;
}

#endif
