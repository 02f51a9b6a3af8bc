namespace Vmm.Machines;

/// <summary>What comes of a reset that the guest asked for (--on-reboot).</summary>
internal enum RebootAction
{
    /// <summary>The machine ends, with success.</summary>
    End,

    /// <summary>The machine starts anew, as often as the guest wants.</summary>
    Restart,

    /// <summary>The machine ends, with an exit code of its own.</summary>
    Fail,
}
