/*
 * Lays out the kernel for Bochs' RAM images.
 *
 * usage: layout kernel VMLINUX IMAGE                  flattens the ELF's segments; prints the image's address and the entry
 *        layout info FILE MIB INITRD SIZE COMMANDLINE  the start info that the boot sector hands to the entry
 */
#include <elf.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { INFO = 0x90000, PAGE = 4096, XEN_ELFNOTE_PHYS32_ENTRY = 18 };

static _Noreturn void fail(const char *what)
{
    fprintf(stderr, "kvm-host: %s\n", what);
    exit(1);
}

static uint64_t entry_of(const uint8_t *elf, const Elf64_Phdr *notes)
{
    uint64_t at = notes->p_offset, end = at + notes->p_filesz;
    while (at + sizeof(Elf64_Nhdr) <= end) {
        const Elf64_Nhdr *note = (const Elf64_Nhdr *)(elf + at);
        const uint8_t *name = elf + at + sizeof *note, *content = name + ((note->n_namesz + 3) & ~3u);
        uint32_t entry;
        if (note->n_type == XEN_ELFNOTE_PHYS32_ENTRY && note->n_namesz == 4 && memcmp(name, "Xen", 4) == 0) {
            memcpy(&entry, content, sizeof entry);
            return entry;
        }
        at = (uint64_t)(content - elf) + ((note->n_descsz + 3) & ~3u);
    }
    return 0;
}

static void lay_out_kernel(const char *from, const char *to)
{
    int fd = open(from, O_RDONLY);
    struct stat about;
    if (fd < 0 || fstat(fd, &about) != 0)
        fail("no kernel");
    const uint8_t *elf = mmap(NULL, (size_t)about.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (elf == MAP_FAILED)
        fail("the kernel cannot be read");
    const Elf64_Ehdr *header = (const Elf64_Ehdr *)elf;
    const Elf64_Phdr *segments = (const Elf64_Phdr *)(elf + header->e_phoff);
    uint64_t base = UINT64_MAX, entry = 0;
    for (int index = 0; index < header->e_phnum; index++) {
        if (segments[index].p_type == PT_LOAD && segments[index].p_paddr < base)
            base = segments[index].p_paddr;
        if (segments[index].p_type == PT_NOTE && entry == 0)
            entry = entry_of(elf, &segments[index]);
    }
    if (entry == 0)
        fail("the kernel has no PVH entry");
    FILE *image = fopen(to, "w");
    for (int index = 0; image != NULL && index < header->e_phnum; index++) {
        const Elf64_Phdr *segment = &segments[index];
        if (segment->p_type != PT_LOAD || segment->p_filesz == 0)
            continue;
        fseek(image, (long)(segment->p_paddr - base), SEEK_SET);
        fwrite(elf + segment->p_offset, 1, segment->p_filesz, image);
    }
    if (image == NULL || fclose(image) != 0)
        fail("the kernel's image cannot be written");
    printf("%#lx %#lx\n", base, entry);
}

/* Xen: x86/HVM direct boot ABI, version 1. */
struct start_info {
    uint32_t magic, version, flags, module_count;
    uint64_t modules, command_line, rsdp, memory_map;
    uint32_t memory_map_entries, reserved;
};

struct module {
    uint64_t address, size, command_line, reserved;
};

struct memory {
    uint64_t address, size;
    uint32_t type, reserved;
};

struct page {
    struct start_info info;
    struct module module;
    struct memory map[5];
    char command_line[PAGE - 512];
};

enum { RAM = 1, RESERVED = 2, ACPI = 3 };

static void write_info(const char *to, uint64_t mebibytes, uint64_t initrd, uint64_t size, const char *command_line)
{
    const uint64_t here = INFO;
    struct page page = {
        .info = {
            .magic = 0x336ec578, .version = 1, .module_count = 1,
            .modules = here + offsetof(struct page, module), .memory_map = here + offsetof(struct page, map),
            .command_line = here + offsetof(struct page, command_line),
        },
        .module = { .address = initrd, .size = size },
    };
    _Static_assert(sizeof(struct start_info) == 56 && sizeof(struct page) <= PAGE, "they are what the ABI says");
    /* Bochs puts its ACPI tables into the last 64 KiB below 3 GiB, and what is above 3 GiB at 4 GiB. */
    const uint64_t hole = (uint64_t)3 << 30, all = mebibytes << 20, low = all < hole ? all : hole, tables = 0x10000;
    const struct memory map[] = {
        { 0, 0x9f000, RAM, 0 },
        { 0x9f000, 0x61000, RESERVED, 0 },
        { 0x100000, low - 0x100000 - tables, RAM, 0 },
        { low - tables, tables, ACPI, 0 },
        { (uint64_t)4 << 30, all - low, RAM, 0 },
    };
    page.info.memory_map_entries = all > low ? 5 : 4;
    _Static_assert(sizeof map == sizeof page.map, "all of them");
    memcpy(page.map, map, sizeof map);
    if (strlen(command_line) >= sizeof page.command_line)
        fail("the kernel's command line is too long");
    strcpy(page.command_line, command_line);
    FILE *file = fopen(to, "w");
    if (file == NULL || fwrite(&page, 1, sizeof page, file) != sizeof page || fclose(file) != 0)
        fail("the start info cannot be written");
}

int main(int count, char **words)
{
    if (count == 4 && strcmp(words[1], "kernel") == 0)
        lay_out_kernel(words[2], words[3]);
    else if (count == 7 && strcmp(words[1], "info") == 0)
        write_info(words[2], strtoull(words[3], NULL, 0), strtoull(words[4], NULL, 0), strtoull(words[5], NULL, 0), words[6]);
    else
        fail("layout: see its source for its usage");
    return 0;
}
