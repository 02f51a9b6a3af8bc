namespace Vmm.Insight.Complaints;

/// <summary>Tells lines in which a Linux kernel complains from all others. Pure, and nothing is allocated.</summary>
/// <remarks>
/// A kernel's message begins the line, or follows its timestamp anywhere in it: <c>[    1.234567] </c> or, with
/// CONFIG_PRINTK_CALLER, <c>[    1.234567][    T1] </c>; the console does not begin a new line for it where a program has
/// not ended its own. Each message has the whole form in which the kernel prints it, not only its first word, because
/// programs print "WARNING: " too. The one exception is a panic, which is found anywhere in a line: it counts only
/// together with how the machine ends (<see cref="Vmm.Machines.PanicWatch"/>).
/// </remarks>
internal static class ComplaintMatcher
{
    private static ReadOnlySpan<byte> Panic => "Kernel panic - not syncing"u8;

    // panic() ends with it where it does not restart the machine: the same panic once more.
    private static ReadOnlySpan<byte> EndOfPanic => "---[ end Kernel panic - not syncing"u8;

    /// <summary>Finds out whether a line is a complaint, and of which kind.</summary>
    /// <param name="line">One line of the console, without its end; any bytes.</param>
    /// <param name="text">Where the kernel's message begins; 0 where there is none.</param>
    /// <returns>Null for all other lines.</returns>
    public static ComplaintKind? Match(ReadOnlySpan<byte> line, out int text)
    {
        text = 0;
        int panic = line.IndexOf(Panic);
        if (panic >= 0 && line.IndexOf(EndOfPanic) < 0)
        {
            text = panic;
            return ComplaintKind.Panic;
        }

        int start = NextMessage(line, 0);
        if (start < 0)
        {
            return MatchMessage(line, isStamped: false);
        }

        for (; start >= 0; start = NextMessage(line, start))
        {
            if (MatchMessage(line[start..], isStamped: true) is { } kind)
            {
                text = start;
                return kind;
            }
        }

        return null;
    }

    /// <summary>Does this line say that the kernel restarts, halts or powers off as requested? In a panic it never
    /// does (kernel/reboot.c, drivers/tty/sysrq.c).</summary>
    public static bool IsOrderlyEnd(ReadOnlySpan<byte> line)
    {
        for (int start = 0; start >= 0; start = NextMessage(line, start))
        {
            ReadOnlySpan<byte> message = line[start..];
            if (message.StartsWith("reboot: Restarting system"u8) || message.StartsWith("reboot: Power down"u8)
                || message.StartsWith("reboot: System halted"u8) || message.StartsWith("sysrq: Resetting"u8)
                || message.StartsWith("sysrq: SysRq : Resetting"u8))
            {
                return true;
            }
        }

        return false;
    }

    /// <summary>Where the next message with a timestamp begins, behind <paramref name="from"/>; -1 for none.</summary>
    private static int NextMessage(ReadOnlySpan<byte> line, int from)
    {
        while (true)
        {
            int bracket = line[from..].IndexOf((byte)'[');
            if (bracket < 0)
            {
                return -1;
            }

            from += bracket + 1;
            int length = TimestampLength(line[from..]);
            if (length != 0)
            {
                return from + length;
            }
        }
    }

    /// <summary><c>    1.234567] </c>, perhaps with <c>[    T1] </c> or <c>[   C0] </c> for the blank
    /// (kernel/printk/printk.c, print_time and print_caller); 0 where it is something else.</summary>
    private static int TimestampLength(ReadOnlySpan<byte> text)
    {
        int at = Skip(text, 0, " "u8);
        int seconds = SkipDigits(text, at);
        if (seconds == at || seconds >= text.Length || text[seconds] != '.')
        {
            return 0;
        }

        int micros = SkipDigits(text, seconds + 1);
        if (micros != seconds + 7 || micros >= text.Length || text[micros] != ']')
        {
            return 0;
        }

        at = micros + 1;
        if (at < text.Length && text[at] == '[')
        {
            int end = text[at..].IndexOf((byte)']');
            at = end < 0 ? text.Length : at + end + 1;
        }

        return at < text.Length && text[at] == ' ' ? at + 1 : 0;
    }

    /// <param name="isStamped">It has the kernel's timestamp before it.</param>
    private static ComplaintKind? MatchMessage(ReadOnlySpan<byte> message, bool isStamped)
    {
        if (message.Length < 8)
        {
            return null;
        }

        ComplaintKind? kind = (char)message[0] switch
        {
            'B' => MatchBug(message, isStamped),
            'W' => MatchWarning(message),
            'I' => MatchInfo(message),
            'r' => message.StartsWith("rcu: INFO: "u8) ? MatchInfo(message["rcu: "u8.Length..]) : null,
            'w' => message.StartsWith("watchdog: "u8) ? MatchWatchdog(message["watchdog: "u8.Length..]) : null,
            'N' => message.StartsWith("NMI watchdog: "u8) ? MatchWatchdog(message["NMI watchdog: "u8.Length..]) : null,
            'k' => message.StartsWith("kernel BUG at "u8) ? ComplaintKind.Bug : null,
            'K' => message.StartsWith("KASAN: "u8) && message.IndexOf(" in range ["u8) > 0 ? ComplaintKind.Kasan : null,
            'U' => message.StartsWith("UBSAN: "u8) && (message.IndexOf(" in "u8) > 0 || message.IndexOf(" at "u8) > 0)
                ? ComplaintKind.Ubsan : null,
            'O' => message.StartsWith("Out of memory: Kill"u8) ? ComplaintKind.OutOfMemory : null,
            'M' => message.StartsWith("Memory cgroup out of memory: Kill"u8) ? ComplaintKind.OutOfMemory : null,
            'D' => message.StartsWith("DEBUG_LOCKS_WARN_ON("u8) ? ComplaintKind.Lockdep : null,
            '[' => message.StartsWith("[ INFO: "u8) && IsLockdep(message["[ INFO: "u8.Length..])
                ? ComplaintKind.Lockdep : null,    // before 4.11
            _ => null,
        };
        return kind
            ?? (IsDie(message) ? ComplaintKind.Oops
                : message.IndexOf(" invoked oom-killer: gfp_mask="u8) > 0 ? ComplaintKind.OutOfMemory
                : null);
    }

    /// <summary><c>general protection fault: 0000 [#1] SMP</c> and all others of arch/x86/kernel/dumpstack.c's die(): what
    /// it is, an error code of at least four hexadecimal digits, and how many there were.</summary>
    private static bool IsDie(ReadOnlySpan<byte> message)
    {
        int count = message.IndexOf(" [#"u8);
        if (count < 0)
        {
            return false;
        }

        int digits = SkipDigits(message, count + 3);
        if (digits == count + 3 || digits >= message.Length || message[digits] != ']')
        {
            return false;
        }

        int code = count;
        while (code > 0 && char.IsAsciiHexDigit((char)message[code - 1]))
        {
            code--;
        }

        return count - code >= 4 && message[..code].EndsWith(": "u8);
    }

    private static ComplaintKind? MatchBug(ReadOnlySpan<byte> message, bool isStamped)
    {
        if (!message.StartsWith("BUG: "u8))
        {
            // The slab allocator: "BUG kmalloc-64 (Not tainted): Right Redzone overwritten".
            return message.StartsWith("BUG "u8)
                && (message.IndexOf(" (Not tainted): "u8) > 0 || message.IndexOf(" (Tainted: "u8) > 0)
                ? ComplaintKind.Bug
                : null;
        }

        ReadOnlySpan<byte> rest = message["BUG: "u8.Length..];
        return rest.StartsWith("KASAN: "u8) ? ComplaintKind.Kasan
            : rest.StartsWith("KCSAN: "u8) ? ComplaintKind.Kcsan
            : rest.StartsWith("soft lockup - CPU#"u8) ? ComplaintKind.SoftLockup
            : rest.StartsWith("unable to handle "u8) || rest.StartsWith("kernel NULL pointer dereference, address: "u8)
                ? ComplaintKind.Oops
            : rest.StartsWith("MAX_LOCK"u8) || rest.StartsWith("MAX_STACK_TRACE_ENTRIES too low!"u8) ? ComplaintKind.Lockdep
            : isStamped || IsKnownBug(rest) ? ComplaintKind.Bug
            : null;
    }

    private static bool IsKnownBug(ReadOnlySpan<byte> rest) =>
        rest.StartsWith("KFENCE: "u8) || rest.StartsWith("KMSAN: "u8)
        || rest.StartsWith("sleeping function called from invalid context at "u8)
        || rest.StartsWith("scheduling while atomic: "u8)
        || (rest.StartsWith("using "u8) && rest.IndexOf("() in preemptible ["u8) > 0)
        || rest.StartsWith("workqueue lockup - pool "u8) || rest.StartsWith("workqueue leaked atomic, lock or RCU: "u8)
        || rest.StartsWith("Bad page "u8) || rest.StartsWith("Bad rss-counter state "u8)
        || rest.StartsWith("non-zero pgtables_bytes on freeing mm: "u8)
        || rest.StartsWith("spinlock "u8) || rest.StartsWith("rwlock "u8)
        || rest.StartsWith("Dentry "u8) || rest.StartsWith("Objects remaining "u8)
        || rest.StartsWith("stack guard page was hit at "u8) || rest.StartsWith("corrupted list in "u8)
        || rest.StartsWith("Invalid wait context"u8) || rest.StartsWith("atomic counter underflow"u8);

    private static ComplaintKind? MatchWarning(ReadOnlySpan<byte> message)
    {
        if (message.StartsWith("Watchdog detected hard LOCKUP"u8))
        {
            return ComplaintKind.HardLockup;
        }

        if (!message.StartsWith("WARNING: "u8))
        {
            return null;
        }

        ReadOnlySpan<byte> rest = message["WARNING: "u8.Length..];
        if (IsLockdep(rest))
        {
            return ComplaintKind.Lockdep;
        }

        // kernel/panic.c, __warn: "CPU: 0 PID: 1 at file.c:12 function+0x1/0x2"; since 6.18 "file.c:12 at function+0x1/0x2".
        int at = rest.IndexOf(" at "u8);
        return at > 0
            && ((rest.StartsWith("CPU: "u8) && rest.IndexOf(" PID: "u8) > 0) || EndsWithFileAndLine(rest[..at]))
            ? ComplaintKind.Warning
            : null;
    }

    private static bool EndsWithFileAndLine(ReadOnlySpan<byte> text)
    {
        int colon = text.LastIndexOf((byte)':');
        return colon > 2 && SkipDigits(text, colon + 1) == text.Length && colon + 1 < text.Length
            && (text[..colon].EndsWith(".c"u8) || text[..colon].EndsWith(".h"u8) || text[..colon].EndsWith(".rs"u8));
    }

    /// <summary>What kernel/locking/lockdep.c reports, after "WARNING: ".</summary>
    private static bool IsLockdep(ReadOnlySpan<byte> rest) =>
        rest.StartsWith("possible circular locking dependency detected"u8)
        || rest.StartsWith("possible recursive locking detected"u8)
        || rest.StartsWith("possible irq lock inversion dependency detected"u8)
        || rest.StartsWith("possible deadlock detected"u8)
        || rest.StartsWith("inconsistent lock state"u8)
        || rest.StartsWith("inconsistent "u8) && rest.IndexOf("lock state"u8) > 0
        || rest.IndexOf("-safe -> "u8) > 0 && rest.IndexOf("-unsafe lock order detected"u8) > 0
        || rest.StartsWith("bad unlock balance detected"u8) || rest.StartsWith("bad contention detected"u8)
        || rest.StartsWith("held lock freed"u8) || rest.StartsWith("Nested lock was not taken"u8)
        || rest.StartsWith("lock held when returning to user space"u8)
        || rest.IndexOf(" still has locks held!"u8) > 0
        || rest.StartsWith("suspicious RCU usage"u8);

    private static ComplaintKind? MatchInfo(ReadOnlySpan<byte> message)
    {
        if (!message.StartsWith("INFO: "u8))
        {
            return null;
        }

        ReadOnlySpan<byte> rest = message["INFO: "u8.Length..];
        return rest.StartsWith("task "u8) && rest.IndexOf(" blocked for more than "u8) > 0 ? ComplaintKind.HungTask
            : rest.StartsWith("rcu"u8) && (rest.IndexOf(" detected stall"u8) > 0 || rest.IndexOf(" self-detected stall"u8) > 0
                || rest.IndexOf(" detected expedited stalls"u8) > 0) ? ComplaintKind.RcuStall
            : rest.StartsWith("trying to register non-static key"u8) || IsLockdep(rest) ? ComplaintKind.Lockdep
            : null;
    }

    private static ComplaintKind? MatchWatchdog(ReadOnlySpan<byte> rest)
    {
        // "CPU3: Watchdog detected hard LOCKUP on cpu 3" is how some say it.
        if (rest.StartsWith("CPU"u8) && rest.IndexOf(": "u8) is int colon and > 0)
        {
            rest = rest[(colon + 2)..];
        }

        return rest.StartsWith("BUG: soft lockup - CPU#"u8) ? ComplaintKind.SoftLockup
            : rest.StartsWith("Watchdog detected hard LOCKUP"u8) ? ComplaintKind.HardLockup
            : null;
    }

    private static int SkipDigits(ReadOnlySpan<byte> text, int at) => Skip(text, at, "0123456789"u8);

    private static int Skip(ReadOnlySpan<byte> text, int at, ReadOnlySpan<byte> all)
    {
        while (at < text.Length && all.Contains(text[at]))
        {
            at++;
        }

        return at;
    }
}
