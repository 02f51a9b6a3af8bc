namespace Vmm.Kvm;

/// <summary>Looks over the shoulder of a vCPU's loop. The loop is generic over it: with <see cref="NoProbe"/> there is no
/// trace of it in the machine code.</summary>
internal interface IExitProbe
{
    /// <summary>KVM_RUN is next, after something else than an exit: the start, or a pause.</summary>
    void Begin();

    /// <summary>KVM_RUN is back.</summary>
    void Left();

    /// <summary>The exit is handled, KVM_RUN is next.</summary>
    void Handled();

    /// <summary>KVM_RUN came back with an error instead of an exit, and that is handled.</summary>
    void Interrupted(int errno);
}

internal readonly struct NoProbe : IExitProbe
{
    public void Begin()
    {
    }

    public void Left()
    {
    }

    public void Handled()
    {
    }

    public void Interrupted(int errno)
    {
    }
}
