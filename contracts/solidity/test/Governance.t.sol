// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {AccessManaged} from "@openzeppelin/contracts/access/manager/AccessManaged.sol";
import {IAccessManaged} from "@openzeppelin/contracts/access/manager/IAccessManaged.sol";
import {IAccessManager} from "@openzeppelin/contracts/access/manager/IAccessManager.sol";
import {IGovernor} from "@openzeppelin/contracts/governance/IGovernor.sol";
import {TimelockController} from "@openzeppelin/contracts/governance/TimelockController.sol";
import {EnergyToken} from "../src/EnergyToken.sol";
import {GovernanceToken} from "../src/GovernanceToken.sol";
import {EnergyGovernor} from "../src/governance/EnergyGovernor.sol";
import {Guardian} from "../src/governance/Guardian.sol";
import {Roles} from "../src/governance/Roles.sol";
import {Timelock} from "../src/governance/Timelock.sol";
import {GovernanceCast} from "./GovernanceCast.sol";

/// @dev Something that is governed: a limit, and a switch that the guardian may turn off but not on.
contract Governed is AccessManaged {
    uint256 public limitW = 1;
    bool public paused;

    constructor(address authority) AccessManaged(authority) {}

    function setLimitW(uint256 newLimitW) external restricted {
        limitW = newLimitW;
    }

    function pause() external restricted {
        paused = true;
    }

    function unpause() external restricted {
        paused = false;
    }
}

/// @dev Something whose governance is fixed when it is deployed, as the settlement's is.
contract Core {
    address public immutable governance;
    address public guardian;
    bool public halted;

    error NotAuthorised();

    constructor(address governance_) {
        governance = governance_;
    }

    function setGuardian(address newGuardian) external {
        if (msg.sender != governance) revert NotAuthorised();
        guardian = newGuardian;
    }

    function halt() external {
        if (msg.sender != governance && msg.sender != guardian) revert NotAuthorised();
        halted = true;
    }

    function restart() external {
        if (msg.sender != governance) revert NotAuthorised();
        halted = false;
    }
}

contract GovernanceTest is GovernanceCast {
    uint48 internal constant VOTING_DELAY_S = 60;
    uint32 internal constant VOTING_PERIOD_S = 600;
    uint256 internal constant DELAY_S = 300;
    uint256 internal constant SUPPLY = 1_000e18;
    uint256 internal constant OWNER_KEY = 0x60A1;
    string internal constant WHY = "more power for the feeder";

    GovernanceToken internal votes;
    Timelock internal timelock;
    EnergyGovernor internal governor;
    Roles internal roles;
    Guardian internal guardian;
    Governed internal governed;
    Core internal core;
    EnergyToken internal money;

    address[] internal targets;
    uint256[] internal amounts;
    bytes[] internal calls;

    /// @dev The whole hand-over as it is done in earnest; this contract is the deployer.
    function setUp() public {
        votes = new GovernanceToken(address(this), SUPPLY);
        address[] memory deployer = new address[](1);
        deployer[0] = address(this);
        timelock = new Timelock(0, deployer, new address[](1), address(this));
        governor = new EnergyGovernor(votes, timelock, VOTING_DELAY_S, VOTING_PERIOD_S, 10e18, 20);
        address[] memory owners = new address[](1);
        owners[0] = VM.addr(OWNER_KEY);
        guardian = new Guardian(owners, 1);
        roles = new Roles(address(this));
        governed = new Governed(address(roles));
        money = new EnergyToken(address(this));
        core = new Core(address(timelock));

        byTimelock(address(core), abi.encodeCall(Core.setGuardian, (address(guardian))));
        byTimelock(address(timelock), abi.encodeCall(TimelockController.updateDelay, (DELAY_S)));
        timelock.grantRole(timelock.PROPOSER_ROLE(), address(governor));
        timelock.grantRole(timelock.CANCELLER_ROLE(), address(governor));
        timelock.revokeRole(timelock.PROPOSER_ROLE(), address(this));
        timelock.revokeRole(timelock.CANCELLER_ROLE(), address(this));
        bytes4[] memory selectors = new bytes4[](1);
        selectors[0] = Governed.pause.selector;
        roles.setTargetFunctionRole(address(governed), selectors, roles.GUARDIAN());
        roles.grantRole(roles.GUARDIAN(), address(guardian), 0);
        money.grantRole(money.DEFAULT_ADMIN_ROLE(), address(timelock));
        roles.grantRole(roles.ADMIN_ROLE(), address(timelock), 0);
        timelock.renounceRole(timelock.DEFAULT_ADMIN_ROLE(), address(this));
        money.renounceRole(money.DEFAULT_ADMIN_ROLE(), address(this));
        roles.renounceRole(roles.ADMIN_ROLE(), address(this));

        votes.transfer(ADA, 150e18);
        votes.transfer(BO, 100e18);
        votes.transfer(CY, 9e18);
        votes.transfer(address(timelock), SUPPLY - 259e18);
        address[3] memory members = [ADA, BO, CY];
        for (uint256 i = 0; i < members.length; i++) {
            VM.prank(members[i]);
            votes.delegate(members[i]);
        }
        VM.warp(block.timestamp + 1);
    }

    /// @dev What the deployer has the timelock do while it does not wait.
    function byTimelock(address target, bytes memory call) internal {
        timelock.schedule(target, 0, call, bytes32(0), bytes32(0), 0);
        timelock.execute(target, 0, call, bytes32(0), bytes32(0));
    }

    function propose(address target, bytes memory call) internal returns (uint256 id) {
        (targets, amounts, calls) = (new address[](1), new uint256[](1), new bytes[](1));
        (targets[0], calls[0]) = (target, call);
        VM.prank(ADA);
        id = governor.propose(targets, amounts, calls, WHY);
        VM.warp(block.timestamp + VOTING_DELAY_S + 1);
    }

    function vote(uint256 id, address member, uint8 choice) internal {
        VM.prank(member);
        governor.castVote(id, choice);
    }

    function queue() internal {
        governor.queue(targets, amounts, calls, keccak256(bytes(WHY)));
    }

    function execute() internal {
        governor.execute(targets, amounts, calls, keccak256(bytes(WHY)));
    }

    /// @dev Ada and Bo carry a proposal through all its stages.
    function decide(address target, bytes memory call) internal returns (uint256 id) {
        id = propose(target, call);
        vote(id, ADA, 1);
        vote(id, BO, 1);
        VM.warp(block.timestamp + VOTING_PERIOD_S);
        queue();
        VM.warp(block.timestamp + DELAY_S);
        execute();
    }

    function assertState(uint256 id, IGovernor.ProposalState expected) internal view {
        assertEq(uint256(governor.state(id)), uint256(expected));
    }

    function guardianCall(address target, bytes memory call) internal view returns (Guardian.Call memory) {
        return Guardian.Call(
            target, 0, call, bytes32(block.timestamp), uint64(block.timestamp + 3_600), guardian.ownersVersion()
        );
    }

    function byGuardian(address target, bytes memory data) internal {
        Guardian.Call memory call = guardianCall(target, data);
        (uint8 v, bytes32 r, bytes32 s) = VM.sign(OWNER_KEY, guardian.digestOf(call));
        bytes[] memory signatures = new bytes[](1);
        signatures[0] = abi.encodePacked(r, s, v);
        guardian.execute(call, signatures);
    }

    function test_a_vote_changes_a_parameter_after_the_delay() public {
        uint256 id = propose(address(governed), abi.encodeCall(Governed.setLimitW, (9_000)));
        assertState(id, IGovernor.ProposalState.Active);
        vote(id, ADA, 1);
        vote(id, BO, 1);
        vote(id, CY, 0);
        VM.warp(block.timestamp + VOTING_PERIOD_S);
        assertState(id, IGovernor.ProposalState.Succeeded);
        assertTrue(governor.proposalNeedsQueuing(id));
        queue();
        assertState(id, IGovernor.ProposalState.Queued);
        assertEq(governor.proposalEta(id), block.timestamp + DELAY_S);
        VM.expectRevert();
        execute();
        VM.warp(block.timestamp + DELAY_S);
        assertEq(governed.limitW(), 1);
        execute();
        assertEq(governed.limitW(), 9_000);
        assertState(id, IGovernor.ProposalState.Executed);
    }

    function test_the_guardian_stops_at_once_and_only_a_vote_starts_again() public {
        byGuardian(address(governed), abi.encodeCall(Governed.pause, ()));
        assertTrue(governed.paused());
        VM.prank(address(guardian));
        VM.expectRevert(abi.encodeWithSelector(IAccessManaged.AccessManagedUnauthorized.selector, address(guardian)));
        governed.unpause();
        decide(address(governed), abi.encodeCall(Governed.unpause, ()));
        assertTrue(!governed.paused());
    }

    function test_what_has_a_fixed_governance_is_halted_and_restarted_the_same_way() public {
        byGuardian(address(core), abi.encodeCall(Core.halt, ()));
        assertTrue(core.halted());
        VM.prank(address(guardian));
        VM.expectRevert(Core.NotAuthorised.selector);
        core.restart();
        decide(address(core), abi.encodeCall(Core.restart, ()));
        assertTrue(!core.halted());
    }

    function test_the_deployer_has_nothing_left() public {
        VM.expectRevert();
        timelock.schedule(address(core), 0, "", bytes32(0), bytes32(0), DELAY_S);
        VM.expectRevert();
        timelock.cancel(bytes32(0));
        VM.expectRevert(abi.encodeWithSelector(IAccessManaged.AccessManagedUnauthorized.selector, address(this)));
        governed.setLimitW(2);
        uint64 role = roles.COORDINATOR();
        VM.expectRevert();
        roles.grantRole(role, address(this), 0);
        bytes32 proposer = timelock.PROPOSER_ROLE();
        VM.expectRevert();
        timelock.grantRole(proposer, address(this));
        bytes32 minter = money.MINTER_ROLE();
        VM.expectRevert();
        money.grantRole(minter, address(this));
        (bool isMember,) = roles.hasRole(roles.ADMIN_ROLE(), address(timelock));
        assertTrue(isMember);
    }

    function test_a_vote_replaces_the_guardian() public {
        uint64 role = roles.GUARDIAN();
        decide(address(roles), abi.encodeCall(IAccessManager.revokeRole, (role, address(guardian))));
        Guardian.Call memory call = guardianCall(address(governed), abi.encodeCall(Governed.pause, ()));
        VM.prank(VM.addr(OWNER_KEY));
        guardian.approve(call);
        VM.expectRevert(abi.encodeWithSelector(IAccessManaged.AccessManagedUnauthorized.selector, address(guardian)));
        guardian.execute(call, new bytes[](0));
    }

    function test_below_the_quorum_nothing_is_decided() public {
        uint256 id = propose(address(governed), abi.encodeCall(Governed.setLimitW, (9_000)));
        vote(id, ADA, 1); // 150 of 1,000, where 200 are needed
        VM.warp(block.timestamp + VOTING_PERIOD_S);
        assertState(id, IGovernor.ProposalState.Defeated);
        VM.expectRevert();
        queue();
    }

    function testFuzz_a_proposal_succeeds_by_quorum_and_majority(uint8 ada, uint8 bo, uint8 cy) public {
        uint256 id = propose(address(governed), abi.encodeCall(Governed.setLimitW, (9_000)));
        uint256[4] memory sums; // against, for, abstain, did not vote
        uint8[3] memory choices = [ada % 4, bo % 4, cy % 4];
        address[3] memory members = [ADA, BO, CY];
        for (uint256 i = 0; i < 3; i++) {
            sums[choices[i]] += votes.getVotes(members[i]);
            if (choices[i] < 3) vote(id, members[i], choices[i]);
        }
        VM.warp(block.timestamp + VOTING_PERIOD_S);
        bool isDecided = sums[1] + sums[2] >= SUPPLY / 5 && sums[1] > sums[0];
        assertState(id, isDecided ? IGovernor.ProposalState.Succeeded : IGovernor.ProposalState.Defeated);
    }

    function test_who_has_too_few_votes_does_not_propose() public {
        (targets, amounts, calls) = (new address[](1), new uint256[](1), new bytes[](1));
        VM.prank(CY);
        VM.expectRevert(abi.encodeWithSelector(IGovernor.GovernorInsufficientProposerVotes.selector, CY, 9e18, 10e18));
        governor.propose(targets, amounts, calls, WHY);
        assertEq(governor.proposalThreshold(), 10e18);
    }

    function test_votes_bought_after_the_snapshot_do_not_count() public {
        uint256 id = propose(address(governed), abi.encodeCall(Governed.setLimitW, (9_000)));
        VM.prank(BO);
        votes.transfer(CY, 100e18);
        vote(id, CY, 1);
        (, uint256 inFavour,) = governor.proposalVotes(id);
        assertEq(inFavour, 9e18);
    }

    function test_who_proposed_withdraws_before_the_vote() public {
        (targets, amounts, calls) = (new address[](1), new uint256[](1), new bytes[](1));
        (targets[0], calls[0]) = (address(governed), abi.encodeCall(Governed.setLimitW, (9_000)));
        VM.prank(ADA);
        uint256 id = governor.propose(targets, amounts, calls, WHY);
        VM.prank(ADA);
        governor.cancel(targets, amounts, calls, keccak256(bytes(WHY)));
        assertState(id, IGovernor.ProposalState.Canceled);
    }

    function test_the_governors_own_parameters_change_by_vote_only() public {
        VM.expectRevert(abi.encodeWithSelector(IGovernor.GovernorOnlyExecutor.selector, address(this)));
        governor.setVotingPeriod(1);
        decide(address(governor), abi.encodeCall(governor.setVotingPeriod, (700)));
        assertEq(governor.votingPeriod(), 700);
        assertEq(governor.votingDelay(), VOTING_DELAY_S);
        assertEq(governor.timelock(), address(timelock));
    }

    function test_the_timelock_takes_orders_from_the_governor_only() public {
        VM.expectRevert();
        timelock.schedule(address(governed), 0, "", bytes32(0), bytes32(0), DELAY_S);
        assertTrue(timelock.hasRole(timelock.PROPOSER_ROLE(), address(governor)));
        assertEq(timelock.getMinDelay(), DELAY_S);
    }

    function test_roles_have_their_numbers() public view {
        assertEq(roles.COORDINATOR(), 1);
        assertEq(roles.ORACLE(), 2);
        assertEq(roles.METER_REGISTRAR(), 3);
        assertEq(roles.GUARDIAN(), 4);
    }
}
