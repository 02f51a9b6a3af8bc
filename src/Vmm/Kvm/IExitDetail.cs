namespace Vmm.Kvm;

/// <summary>Details of an exit that the shared page does not hold.</summary>
internal interface IExitDetail
{
    /// <summary>A number for the instruction that was assisted last.</summary>
    int LastInstruction { get; }

    /// <summary>Its name: <c>popcnt</c>.</summary>
    string NameOf(int instruction);
}
