using System.Text;
using Vmm.Insight.Complaints;
using Vmm.Tests.Shared;

namespace Vmm.Tests.Insight;

/// <summary>Lines as kernels of today and of ten years ago print them, and lines that only look like them.</summary>
public sealed class ComplaintMatcherTests
{
    /// <summary>All kinds, each in the forms that it has had.</summary>
    public static readonly TheoryData<string, string> Complaints = new()
    {
        { "panic", "Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000100" },
        { "panic", "Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)" },
        { "panic", "Kernel panic - not syncing: sysrq triggered crash" },
        { "oops", "BUG: kernel NULL pointer dereference, address: 0000000000000000" },
        { "oops", "BUG: unable to handle page fault for address: ffffffffc0000000" },
        { "oops", "BUG: unable to handle kernel NULL pointer dereference at           (null)" },
        { "oops", "Oops: 0002 [#1] PREEMPT SMP NOPTI" },
        { "oops", "Oops: Oops: 0002 [#1] SMP NOPTI" },
        { "oops", "general protection fault: 0000 [#1] SMP PTI" },
        { "oops", "general protection fault, probably for non-canonical address 0xdead000000000122: 0000 [#1] PREEMPT SMP" },
        { "oops", "Oops: general protection fault, probably for non-canonical address 0xdead: 0000 [#2] SMP" },
        { "oops", "invalid opcode: 0000 [#1] SMP KASAN" },
        { "oops", "divide error: 0000 [#12] SMP" },
        { "oops", "stack segment: 0000 [#1] SMP" },
        { "BUG", "kernel BUG at lib/list_debug.c:29!" },
        { "BUG", "BUG: sleeping function called from invalid context at kernel/locking/mutex.c:580" },
        { "BUG", "BUG: scheduling while atomic: swapper/0/0/0x00000002" },
        { "BUG", "BUG: using smp_processor_id() in preemptible [00000000] code: modprobe/123" },
        { "BUG", "BUG: workqueue lockup - pool cpus=0 node=0 flags=0x0 nice=0 stuck for 30s!" },
        { "BUG", "BUG: Bad page state in process swapper/0  pfn:3f000" },
        { "BUG", "BUG: Bad rss-counter state mm:00000000a5b9f1c1 type:MM_ANONPAGES val:1" },
        { "BUG", "BUG: KFENCE: out-of-bounds read in test_out_of_bounds_read+0xa6/0x234" },
        { "BUG", "BUG: KMSAN: uninit-value in packet_rcv+0x1234/0x2000" },
        { "BUG", "BUG kmalloc-64 (Tainted: G    B            ): Right Redzone overwritten" },
        { "WARNING", "WARNING: CPU: 0 PID: 1 at kernel/rcu/tree.c:1234 rcu_foo+0x12/0x20" },
        { "WARNING", "WARNING: CPU: 3 PID: 77 Comm: insmod at /tmp/m/warn.c:7 init_module+0x7/0x1000 [warn]" },
        { "WARNING", "WARNING: kernel/sched/core.c:4321 at sched_foo+0x12/0x20, CPU#1: kworker/1:0/19" },
        { "WARNING", "WARNING: [amdgpu] drivers/gpu/drm/drm_foo.c:99 at drm_bar+0x1/0x2, CPU#0: Xorg/1" },
        { "KASAN", "BUG: KASAN: slab-out-of-bounds in kmalloc_oob_right+0xa8/0xbc [kasan_test]" },
        { "KASAN", "BUG: KASAN: use-after-free in foo+0x1/0x2" },
        { "KASAN", "KASAN: null-ptr-deref in range [0x0000000000000000-0x0000000000000007]" },
        { "KASAN", "KASAN: maybe wild-memory-access in range [0xdead000000000100-0xdead000000000107]" },
        { "KCSAN", "BUG: KCSAN: data-race in test_kernel_read / test_kernel_write" },
        { "UBSAN", "UBSAN: array-index-out-of-bounds in drivers/misc/lkdtm/bugs.c:400:16" },
        { "UBSAN", "UBSAN: shift-out-of-bounds in lib/test_ubsan.c:60:2" },
        { "UBSAN", "UBSAN: Undefined behaviour in fs/foo.c:12:3" },
        { "lockdep", "WARNING: possible circular locking dependency detected" },
        { "lockdep", "WARNING: possible recursive locking detected" },
        { "lockdep", "WARNING: inconsistent lock state" },
        { "lockdep", "WARNING: HARDIRQ-safe -> HARDIRQ-unsafe lock order detected" },
        { "lockdep", "WARNING: possible irq lock inversion dependency detected" },
        { "lockdep", "WARNING: bad unlock balance detected!" },
        { "lockdep", "WARNING: held lock freed!" },
        { "lockdep", "WARNING: lock held when returning to user space!" },
        { "lockdep", "WARNING: syz-executor/123 still has locks held!" },
        { "lockdep", "WARNING: suspicious RCU usage" },
        { "lockdep", "[ INFO: possible circular locking dependency detected ]" },
        { "lockdep", "INFO: trying to register non-static key." },
        { "lockdep", "BUG: MAX_LOCKDEP_ENTRIES too low!" },
        { "lockdep", "DEBUG_LOCKS_WARN_ON(lock->magic != lock)" },
        { "hung-task", "INFO: task kworker/0:1:19 blocked for more than 122 seconds." },
        { "hung-task", "INFO: task sh:123 <writer> blocked for more than 10 seconds." },
        { "soft-lockup", "watchdog: BUG: soft lockup - CPU#0 stuck for 22s! [insmod:123]" },
        { "soft-lockup", "NMI watchdog: BUG: soft lockup - CPU#3 stuck for 23s! [kworker/3:1:44]" },
        { "soft-lockup", "BUG: soft lockup - CPU#0 stuck for 67s! [swapper/0:1]" },
        { "hard-lockup", "watchdog: Watchdog detected hard LOCKUP on cpu 1" },
        { "hard-lockup", "NMI watchdog: Watchdog detected hard LOCKUP on cpu 0" },
        { "hard-lockup", "watchdog: CPU3: Watchdog detected hard LOCKUP on cpu 3" },
        { "hard-lockup", "Watchdog detected hard LOCKUP on cpu 2" },
        { "rcu-stall", "rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:" },
        { "rcu-stall", "rcu: INFO: rcu_preempt self-detected stall on CPU" },
        { "rcu-stall", "rcu: INFO: rcu_sched detected expedited stalls on CPUs/tasks: { 1-... } 21 jiffies s: 65 root: 0x2/." },
        { "rcu-stall", "INFO: rcu_sched self-detected stall on CPU { 0}  (t=2100 jiffies g=10 c=9 q=3)" },
        { "rcu-stall", "INFO: rcu_tasks detected stalls on tasks:" },
        { "oom", "Out of memory: Killed process 123 (stress) total-vm:1234kB, anon-rss:1000kB, file-rss:0kB" },
        { "oom", "Out of memory: Kill process 123 (stress) score 900 or sacrifice child" },
        { "oom", "Memory cgroup out of memory: Killed process 77 (a) total-vm:1kB" },
        { "oom", "stress invoked oom-killer: gfp_mask=0x140cca(GFP_HIGHUSER_MOVABLE|__GFP_COMP), order=0, oom_score_adj=0" },
    };

    [Theory]
    [MemberData(nameof(Complaints))]
    public void Each_complaint_is_found_with_and_without_a_timestamp(string kind, string message)
    {
        foreach (string before in new[]
            {
                "", "[    1.234567] ", "[12345.000001][    T1] ", "[    0.000000][    C0] ", "# [    1.234567] ",
                "test 3 of 7 ... [  123.456789] ", "[x] [ 1.5] [    1.234567] ",
            })
        {
            Assert.Equal((kind, message), Match(before + message));
        }
    }

    /// <summary>What clean kernels and ordinary programs print.</summary>
    [Theory]
    [InlineData("")]
    [InlineData("[")]
    [InlineData("[    1.234567]")]
    [InlineData("[    1.234567] ")]
    [InlineData("[    0.000000] Linux version 6.1.0 (a@b) #1 SMP PREEMPT_DYNAMIC")]
    [InlineData("[    0.010000] Spectre V2 : WARNING: Unprivileged eBPF is enabled with eIBRS on")]
    [InlineData("[    0.100000] rcu: Hierarchical RCU implementation.")]
    [InlineData("[    0.100000] rcu: \tRCU CPU stall warnings timeout set to 60 (rcu_cpu_stall_timeout).")]
    [InlineData("[    0.100000] NMI watchdog: Enabled. Permanently consumes one hw-PMU counter.")]
    [InlineData("[    0.100000] kasan: KernelAddressSanitizer initialized (generic)")]
    [InlineData("[    0.100000] Lock dependency validator: Copyright (c) 2006 Red Hat, Inc., Ingo Molnar")]
    [InlineData("[    0.100000] Kernel command line: console=ttyS0 panic=-1 oops=panic")]
    [InlineData("[    3.000000] ---[ end Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000100 ]---")]
    [InlineData("[    3.000000] ---[ end trace 0000000000000000 ]---")]
    [InlineData("[    3.000000] reboot: Restarting system")]
    [InlineData("[    3.000000] x86/cpu: VMX (outside TXT) disabled by BIOS [#1]")]
    [InlineData("WARNING: the package lists are old")]
    [InlineData("WARNING: look at line 12 of a.c at once")]
    [InlineData("BUG: my own program is wrong")]
    [InlineData("BUG: using the wrong word")]
    [InlineData("INFO: task done")]
    [InlineData("INFO: task 3 of 5")]
    [InlineData("Out of memory: try again")]
    [InlineData("UBSAN: on")]
    [InlineData("KASAN: on")]
    [InlineData("fixes: issue [#1]")]
    [InlineData("see: 12 [#1]")]
    [InlineData("Nov 26 21:09:01 host kernel: BUG: KASAN: use-after-free in foo+0x1/0x2")]
    [InlineData("grep 'BUG: KASAN: ' log")]
    [InlineData("[1.5] BUG: KASAN: use-after-free in foo")]
    [InlineData("[    1.234567 ] kernel BUG at a.c:1!")]
    public void A_clean_line_is_none(string line) => Assert.Null(Match(line).Kind);

    [Theory]
    [InlineData("[    3.000000] reboot: Restarting system", true)]
    [InlineData("reboot: Restarting system with command 'now'", true)]
    [InlineData("# [    3.000000][    T1] reboot: Power down", true)]
    [InlineData("reboot: System halted", true)]
    [InlineData("[    3.000000] sysrq: Resetting", true)]
    [InlineData("[    3.000000] sysrq: Trigger a crash", false)]
    [InlineData("[    3.000000] Rebooting in 5 seconds..", false)]
    [InlineData("echo reboot: Restarting system", false)]
    public void An_orderly_end_is_distinguished(string line, bool isOrderly) =>
        Assert.Equal(isOrderly, ComplaintMatcher.IsOrderlyEnd(Encoding.UTF8.GetBytes(line)));

    [Fact]
    public void Every_kind_has_a_name_and_is_found_by_it()
    {
        foreach (ComplaintKind kind in Enum.GetValues<ComplaintKind>())
        {
            Assert.Equal(kind, ComplaintNames.Find(ComplaintNames.NameOf(kind).ToUpperInvariant()));
            Assert.Contains(Complaints, row => (string)row[0] == ComplaintNames.NameOf(kind));
        }

        Assert.Null(ComplaintNames.Find("love"));
    }

    [Fact]
    public void Any_bytes_are_matched_without_an_error_and_without_allocating()
    {
        byte[][] seeds = [.. Complaints.Select(row => Encoding.UTF8.GetBytes("x [    1.234567][  T1] " + (string)row[1]))];
        byte[] line = new byte[256];
        bool isInside = true;
        var random = new Random(1);
        Assert.Equal(0, Allocations.Least(() =>
        {
            for (int i = 0; i < 100_000; i++)
            {
                byte[] seed = seeds[i % seeds.Length];
                int length = Math.Min(random.Next(seed.Length + 1), line.Length);
                seed.AsSpan(0, length).CopyTo(line);
                for (int change = random.Next(4); change > 0 && length > 0; change--)
                {
                    line[random.Next(length)] = (byte)"[]#:. 0aB\r\u00ff"[random.Next(10)];
                }

                ComplaintMatcher.Match(line.AsSpan(0, length), out int text);
                isInside &= text >= 0 && text <= length;
                ComplaintMatcher.IsOrderlyEnd(line.AsSpan(0, length));
            }
        }));
        Assert.True(isInside);
    }

    private static (string? Kind, string Text) Match(string line)
    {
        ComplaintKind? kind = ComplaintMatcher.Match(Encoding.UTF8.GetBytes(line), out int text);
        return (kind is { } found ? ComplaintNames.NameOf(found) : null, line[text..]);
    }
}
