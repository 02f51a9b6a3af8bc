using Vmm.Insight.Complaints;

namespace Vmm.Machines;

/// <summary>Decides whether a guest's end was a panic of its kernel: by what its console said, and by the pvpanic port.
/// </summary>
/// <remarks>
/// The console alone is no proof, as programs may print anything. It counts as a panic when the machine is then reset or
/// crashes, and the kernel did not print before that it restarts on request: an orderly restart always prints that, a panic
/// never (<see cref="ComplaintMatcher.IsOrderlyEnd"/>). A guest that powers off has not panicked. The pvpanic port needs no
/// second proof: only the kernel, or a program with all rights, can write to it.
/// <para>Any thread.</para>
/// </remarks>
internal sealed class PanicWatch
{
    private const string Prefix = "Kernel panic - not syncing: ";

    // "kernel BUG at mm/slub.c:12!" and "invalid opcode: 0000 [#1]" are two lines of one report; the first says more.
    private const int LinesOfOneReport = 3;

    private readonly Lock _lock = new();
    private string? _said;
    private Complaint? _before;
    private bool _reported;
    private bool _handledByGuest;

    public PanicWatch(ComplaintWatch console)
    {
        console.Found += Note;
        console.OrderlyEnd += Forget;
    }

    /// <summary>The pvpanic port was written to.</summary>
    public void Report(bool handledByGuest)
    {
        lock (_lock)
        {
            _handledByGuest = handledByGuest && (_handledByGuest || !_reported);
            _reported = true;
        }
    }

    /// <summary>How the machine ended, if the guest's kernel panicked before.</summary>
    /// <param name="end">How it ended, apart from panics.</param>
    public MachineEnd Resolve(MachineEnd end)
    {
        lock (_lock)
        {
            bool isPanic = end.Kind switch
            {
                MachineEndKind.Reset or MachineEndKind.GuestCrashed => _reported || _said is not null,
                MachineEndKind.PoweredOff => _reported,
                _ => false,
            };
            return isPanic ? MachineEnd.Panicked(Why()) : end;
        }
    }

    /// <summary>As <see cref="Resolve"/>, for a guest that reported a panic by pvpanic and then hung.</summary>
    public MachineEnd Stuck()
    {
        lock (_lock)
        {
            return MachineEnd.Panicked(Why());
        }
    }

    private string Why()
    {
        if (_said is null)
        {
            return "reported by its pvpanic port, without a message on its console";
        }

        return (_before is null ? _said : $"{_said} ({_before.Text})")
            + (_handledByGuest ? "; its own crash kernel took over" : "");
    }

    private void Note(Complaint complaint)
    {
        lock (_lock)
        {
            if (complaint.Kind != ComplaintKind.Panic)
            {
                bool goesOn = _before is { Kind: ComplaintKind.Oops or ComplaintKind.Bug }
                    && complaint.Kind == ComplaintKind.Oops && complaint.Line - _before.Line <= LinesOfOneReport;
                _before = _said is not null || goesOn ? _before : complaint;
                return;
            }

            _said = complaint.Text.StartsWith(Prefix, StringComparison.Ordinal)
                ? complaint.Text[Prefix.Length..]
                : complaint.Text;
            _before = IsConsequence(_said) ? _before : null;
        }
    }

    /// <summary>True when an earlier line has the cause: an oops, or a complaint that panics by configuration (panic_on_warn).
    /// </summary>
    private static bool IsConsequence(string panic) =>
        panic.StartsWith("Fatal exception", StringComparison.Ordinal)
        || panic.Contains("panic_on_warn", StringComparison.Ordinal)
        || panic.StartsWith("hung_task", StringComparison.Ordinal)
        || panic.StartsWith("softlockup", StringComparison.Ordinal)
        || panic.StartsWith("Hard LOCKUP", StringComparison.Ordinal)
        || panic.StartsWith("RCU Stall", StringComparison.Ordinal);

    private void Forget()
    {
        lock (_lock)
        {
            _said = null;
            _before = null;
        }
    }
}
