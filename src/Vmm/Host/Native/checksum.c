/*
 * Checksums of guest memory, as Snapshots/MemoryChecksums.cs makes them: CRC-32C (RFC 3720, appendix B.4).
 */
#include <string.h>
#include <sys/platform/x86.h>

#include "faults.h"

static uint32_t crc_by_bits(uint32_t crc, const unsigned char *bytes, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        crc ^= bytes[i];
        for (int bit = 0; bit < 8; bit++)
            crc = (crc >> 1) ^ (0x82f63b78 & -(crc & 1));
    }
    return crc;
}

__attribute__((target("sse4.2"))) static uint32_t crc_by_words(uint32_t crc, const unsigned char *bytes, uint64_t count)
{
    uint64_t sum = crc;
    for (uint64_t i = 0; i < count; i += 8) {
        uint64_t word;
        memcpy(&word, bytes + i, 8);
        sum = __builtin_ia32_crc32di(sum, word);
    }
    return (uint32_t)sum;
}

uint32_t vmm_checksum(const unsigned char *bytes, uint64_t count)
{
    if (bytes[0] == 0 && memcmp(bytes, bytes + 1, count - 1) == 0)
        return 0;
    /* Asks the C library: __builtin_cpu_supports would bring a constructor of 12 CPUIDs, each 4 us in a virtual machine. */
    uint32_t crc = ~(CPU_FEATURE_ACTIVE(SSE4_2) ? crc_by_words : crc_by_bits)(UINT32_MAX, bytes, count);
    return crc == 0 ? 1 : crc;
}
