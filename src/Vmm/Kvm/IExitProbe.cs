namespace Vmm.Kvm;

/// <summary>Observes a vCPU's loop. The loop is generic over it: with <see cref="NoProbe"/> it adds no machine code.</summary>
internal interface IExitProbe
{
    /// <summary>KVM_RUN is about to be called, at the start or after a pause.</summary>
    void Begin();

    /// <summary>KVM_RUN has returned.</summary>
    void Left();

    /// <summary>The exit is handled, KVM_RUN is about to be called.</summary>
    void Handled();

    /// <summary>KVM_RUN returned an error instead of an exit, and that is handled.</summary>
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

/// <summary>Details of an exit that the shared page does not hold.</summary>
internal interface IExitDetail
{
    /// <summary>A number for the instruction that was assisted last.</summary>
    int LastInstruction { get; }

    /// <summary>Its name: <c>popcnt</c>.</summary>
    string NameOf(int instruction);
}
