namespace Vmm.Kvm;

/// <summary>What the shared page does not tell about an exit.</summary>
internal interface IExitDetail
{
    /// <summary>A number for the instruction that was assisted last.</summary>
    int LastInstruction { get; }

    /// <summary>Its name: <c>popcnt</c>.</summary>
    string NameOf(int instruction);
}
