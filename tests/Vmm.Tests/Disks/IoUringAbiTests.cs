using System.Diagnostics;
using System.Runtime.InteropServices;
using System.Text;
using Vmm.Host;

namespace Vmm.Tests.Disks;

/// <summary>The C compiler judges our structs and numbers: each becomes a static assertion.</summary>
public sealed class IoUringAbiTests
{
    private readonly StringBuilder _c = new(
        """
        #define _GNU_SOURCE
        #include <stddef.h>
        #include <fcntl.h>
        #include <sys/uio.h>
        #include <sys/mman.h>
        #include <sys/syscall.h>
        #include <sys/ioctl.h>
        #include <limits.h>
        #include <linux/fs.h>
        #include <linux/stat.h>
        #include <linux/io_uring.h>

        """);

    [Fact]
    public void Structs_and_numbers_are_those_of_the_headers()
    {
        Struct<LibC.IoUringSqe>("io_uring_sqe",
            ("Opcode", "opcode"), ("Flags", "flags"), ("Fd", "fd"), ("Offset", "off"), ("Address", "addr"),
            ("Length", "len"), ("OperationFlags", "rw_flags"), ("UserData", "user_data"));
        Struct<LibC.IoUringCqe>("io_uring_cqe", ("UserData", "user_data"), ("Result", "res"), ("Flags", "flags"));
        Struct<LibC.IoSqringOffsets>("io_sqring_offsets",
            ("Head", "head"), ("Tail", "tail"), ("RingMask", "ring_mask"), ("RingEntries", "ring_entries"),
            ("Flags", "flags"), ("Dropped", "dropped"), ("Array", "array"));
        Struct<LibC.IoCqringOffsets>("io_cqring_offsets",
            ("Head", "head"), ("Tail", "tail"), ("RingMask", "ring_mask"), ("RingEntries", "ring_entries"),
            ("Overflow", "overflow"), ("Cqes", "cqes"), ("Flags", "flags"));
        Struct<LibC.IoUringParams>("io_uring_params",
            ("SqEntries", "sq_entries"), ("CqEntries", "cq_entries"), ("Flags", "flags"), ("Features", "features"),
            ("SqOff", "sq_off"), ("CqOff", "cq_off"));
        Struct<LibC.IoUringFilesUpdate>("io_uring_files_update", ("Offset", "offset"), ("Fds", "fds"));
        Struct<LibC.Statx>("statx",
            ("Mask", "stx_mask"), ("Mode", "stx_mode"), ("Inode", "stx_ino"), ("Size", "stx_size"),
            ("Blocks", "stx_blocks"), ("DeviceMajor", "stx_dev_major"), ("DeviceMinor", "stx_dev_minor"),
            ("DioMemoryAlign", "stx_dio_mem_align"), ("DioOffsetAlign", "stx_dio_offset_align"));
        Struct<LibC.Iovec>("iovec", ("Base", "iov_base"), ("Length", "iov_len"));
        Struct<Vmm.Devices.Virtio.IoVector>("iovec");

        Number(LibC.SYS_io_uring_setup, "SYS_io_uring_setup");
        Number(LibC.SYS_io_uring_enter, "SYS_io_uring_enter");
        Number(LibC.SYS_io_uring_register, "SYS_io_uring_register");
        Number(LibC.IORING_OP_READV, "IORING_OP_READV");
        Number(LibC.IORING_OP_WRITEV, "IORING_OP_WRITEV");
        Number(LibC.IORING_OP_FSYNC, "IORING_OP_FSYNC");
        Number(LibC.IORING_OP_FALLOCATE, "IORING_OP_FALLOCATE");
        Number(LibC.IORING_OP_READ, "IORING_OP_READ");
        Number(LibC.IORING_OP_WRITE, "IORING_OP_WRITE");
        Number(LibC.IOSQE_FIXED_FILE, "IOSQE_FIXED_FILE");
        Number(LibC.IOSQE_ASYNC, "IOSQE_ASYNC");
        Number(LibC.IORING_FSYNC_DATASYNC, "IORING_FSYNC_DATASYNC");
        Number(LibC.IORING_SETUP_COOP_TASKRUN, "IORING_SETUP_COOP_TASKRUN");
        Number(LibC.IORING_FEAT_SINGLE_MMAP, "IORING_FEAT_SINGLE_MMAP");
        Number(LibC.IORING_ENTER_GETEVENTS, "IORING_ENTER_GETEVENTS");
        Number(LibC.IORING_REGISTER_FILES, "IORING_REGISTER_FILES");
        Number(LibC.IORING_REGISTER_EVENTFD, "IORING_REGISTER_EVENTFD");
        Number(LibC.IORING_REGISTER_FILES_UPDATE, "IORING_REGISTER_FILES_UPDATE");
        Number(LibC.IORING_OFF_SQ_RING, "IORING_OFF_SQ_RING");
        Number(LibC.IORING_OFF_SQES, "IORING_OFF_SQES");
        Number(LibC.O_EXCL, "O_EXCL");
        Number(LibC.O_TMPFILE, "O_TMPFILE");
        Number(LibC.O_DIRECT, "O_DIRECT");
        Number(LibC.F_UNLCK, "F_UNLCK");
        Number(LibC.RWF_DSYNC, "RWF_DSYNC");
        Number(LibC.AT_EMPTY_PATH, "AT_EMPTY_PATH");
        Number(LibC.STATX_BASIC_STATS, "STATX_BASIC_STATS");
        Number(LibC.STATX_DIOALIGN, "STATX_DIOALIGN");
        Number(LibC.S_IFMT, "S_IFMT");
        Number(LibC.S_IFBLK, "S_IFBLK");
        Number(LibC.S_IFREG, "S_IFREG");
        Number((long)LibC.BLKGETSIZE64, "BLKGETSIZE64");
        Number(LibC.IOV_MAX, "IOV_MAX");
        Number(LibC.FALLOC_FL_KEEP_SIZE, "FALLOC_FL_KEEP_SIZE");
        Number(LibC.FALLOC_FL_PUNCH_HOLE, "FALLOC_FL_PUNCH_HOLE");
        Number(LibC.FALLOC_FL_ZERO_RANGE, "FALLOC_FL_ZERO_RANGE");

        Assert.Equal("", Compile(_c.ToString()));
    }

    private void Struct<T>(string name, params (string Field, string Member)[] fields)
        where T : unmanaged
    {
        _c.Append($"_Static_assert(sizeof(struct {name}) == {Marshal.SizeOf<T>()}, \"size of {name}\");\n");
        foreach ((string field, string member) in fields)
        {
            _c.Append($"_Static_assert(offsetof(struct {name}, {member}) == {Marshal.OffsetOf<T>(field)}, ");
            _c.Append($"\"{name}.{member}\");\n");
        }
    }

    private void Number(long value, string name) =>
        _c.Append($"_Static_assert((unsigned long long)({name}) == {(ulong)value}ull, \"{name}\");\n");

    private static string Compile(string source)
    {
        var start = new ProcessStartInfo("gcc", "-x c -fsyntax-only -std=c11 -")
        {
            RedirectStandardInput = true,
            RedirectStandardError = true,
        };
        using Process gcc = Process.Start(start)!;
        gcc.StandardInput.Write(source);
        gcc.StandardInput.Close();
        string errors = gcc.StandardError.ReadToEnd();
        gcc.WaitForExit();
        return errors;
    }
}
