// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {Settlement} from "../src/Settlement.sol";
import {ISettlement} from "../src/interfaces/ISettlement.sol";
import {Messages} from "../src/libraries/Messages.sol";
import {Cast} from "./Cast.sol";
import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
import {IERC20Metadata} from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Metadata.sol";

contract CentToken is ERC20("Cent", "C") {
    function decimals() public pure override returns (uint8) {
        return 2;
    }
}

contract WeiToken is ERC20("Wei", "W") {
    constructor() {
        _mint(msg.sender, 1e30);
    }
}

contract AccountsTest is Cast {
    function test_account_0_is_the_suppliers_and_numbers_are_dense() public view {
        assertEq(settlement.ownerOf(0), GOVERNANCE);
        assertEq(settlement.accountOf(GOVERNANCE), 0);
        assertEq(settlement.accountOf(ADA), 1);
        assertEq(settlement.accountOf(BO), 2);
        assertEq(settlement.accountCount(), 3);
        assertEq(settlement.keyOf(1), VM.addr(ADA_KEY));
        assertEq(settlement.ownerOf(3), address(0));
        assertEq(settlement.keyOf(3), address(0));
    }

    function test_an_unknown_owner_has_no_account() public {
        VM.expectRevert(abi.encodeWithSelector(ISettlement.UnknownOwner.selector, address(7)));
        settlement.accountOf(address(7));
    }

    function test_only_the_registrar_opens_accounts() public {
        VM.expectRevert(ISettlement.NotAuthorised.selector);
        settlement.openAccount(address(7), address(8));
    }

    function test_an_owner_has_one_account() public {
        VM.startPrank(REGISTRAR);
        VM.expectRevert(abi.encodeWithSelector(ISettlement.AlreadyOpened.selector, ADA));
        settlement.openAccount(ADA, address(8));
        VM.expectRevert(abi.encodeWithSelector(ISettlement.AlreadyOpened.selector, GOVERNANCE));
        settlement.openAccount(GOVERNANCE, address(8));
    }

    function test_an_account_needs_an_owner_and_a_key() public {
        VM.startPrank(REGISTRAR);
        VM.expectRevert(ISettlement.ZeroAddress.selector);
        settlement.openAccount(address(0), address(8));
        VM.expectRevert(ISettlement.ZeroAddress.selector);
        settlement.openAccount(address(7), address(0));
    }

    function test_there_are_no_more_accounts_than_leaves() public {
        bytes32 first = VM.load(address(settlement), bytes32(0));
        assertEq(uint256(first), 3);
        VM.store(address(settlement), bytes32(0), bytes32(uint256(1 << 20)));
        VM.prank(REGISTRAR);
        VM.expectRevert(ISettlement.AccountsFull.selector);
        settlement.openAccount(address(7), address(8));
    }

    function test_a_deposit_is_pooled() public {
        settlement.deposit(1, 5e9);
        settlement.deposit(1, 2e9);
        assertEq(settlement.depositedNano(1), 7e9);
        assertEq(settlement.withdrawnNano(1), 0);
        assertEq(settlement.pooledNano(), 7e9);
        assertEq(token.balanceOf(address(settlement)), BOND + 7e9);
    }

    function test_nothing_is_paid_into_an_unknown_account() public {
        VM.expectRevert(abi.encodeWithSelector(ISettlement.UnknownAccount.selector, 3));
        settlement.deposit(3, 1);
    }

    function test_an_amount_beyond_88_bits_is_refused() public {
        VM.expectRevert(abi.encodeWithSelector(ISettlement.ExceedsFree.selector, type(uint88).max));
        settlement.deposit(1, uint256(type(uint88).max) + 1);
        VM.expectRevert(abi.encodeWithSelector(ISettlement.ExceedsFree.selector, type(uint88).max));
        settlement.postBond(type(uint88).max);
    }

    function test_deployment_refuses_what_cannot_work() public {
        refused(new CentToken(), GOVERNANCE, REGISTRAR, COORDINATOR, terms(), IMPORT);
        refused(token, address(0), REGISTRAR, COORDINATOR, terms(), IMPORT);
        refused(token, GOVERNANCE, address(0), COORDINATOR, terms(), IMPORT);
        refused(token, GOVERNANCE, REGISTRAR, address(0), terms(), IMPORT);
        refused(token, GOVERNANCE, REGISTRAR, COORDINATOR, terms(), EXPORT - 1);
        ISettlement.Terms memory wrong = terms();
        wrong.releaseAfterS = 1 days - 1;
        refused(token, GOVERNANCE, REGISTRAR, COORDINATOR, wrong, IMPORT);
        wrong = terms();
        wrong.spotRule = 0;
        refused(token, GOVERNANCE, REGISTRAR, COORDINATOR, wrong, IMPORT);
        wrong.spotRule = 3;
        refused(token, GOVERNANCE, REGISTRAR, COORDINATOR, wrong, IMPORT);
        wrong.spotRule = 2;
        new Settlement(token, GOVERNANCE, REGISTRAR, COORDINATOR, wrong, EXPORT, EXPORT);
    }

    function refused(
        IERC20Metadata money,
        address governance,
        address registrar,
        address coordinator,
        ISettlement.Terms memory agreed,
        int64 tariffImport
    ) private {
        VM.expectRevert();
        new Settlement(money, governance, registrar, coordinator, agreed, tariffImport, EXPORT);
    }

    function test_what_is_agreed_can_be_read() public view {
        assertEq(settlement.token(), address(token));
        assertEq(settlement.governance(), GOVERNANCE);
        assertEq(settlement.registrar(), REGISTRAR);
        assertEq(settlement.coordinator(), COORDINATOR);
        assertEq(settlement.finalityWindowS(), WINDOW_S);
        assertEq(settlement.graceIntervals(), GRACE);
        assertEq(settlement.gateLeads(), GATE_LEADS);
        assertEq(settlement.spotRule(), SPOT_RULE);
        assertEq(settlement.releaseAfterS(), RELEASE_S);
        assertEq(settlement.minimumBondNano(), BOND);
        assertEq(settlement.challenges(0), COURT);
        assertEq(settlement.bounds(), address(0));
    }

    function test_a_token_of_eighteen_decimals_is_counted_in_nano() public {
        WeiToken weis = new WeiToken();
        settlement = new Settlement(weis, GOVERNANCE, REGISTRAR, COORDINATOR, terms(), IMPORT, EXPORT);
        VM.prank(GOVERNANCE);
        settlement.setChallenges([COURT, COURT, COURT, COURT]);
        weis.approve(address(settlement), type(uint256).max);
        settlement.deposit(0, 3);
        assertEq(settlement.tokenUnitsPerNano(), 1e9);
        assertEq(weis.balanceOf(address(settlement)), 3e9);
    }
}

contract HeadersTest is Cast {
    function test_a_header_is_posted_and_continues_the_chain() public {
        Messages.Header memory header = nextHeader(emptyRoot());
        assertEq(settlement.tipDigest(), bytes32(0));
        ISettlement.HeaderProof memory proof = post(header);
        uint256 upper = type(uint256).max << 40;
        assertEq(proof.index, 0);
        assertEq(settlement.tipDigest(), digestOf(header));
        assertEq(uint256(settlement.commitments(0)), (uint256(digestOf(header)) & upper) | block.timestamp);
        assertEq(settlement.postedAt(0), block.timestamp);
        header = nextHeader(emptyRoot());
        assertEq(header.previous, digestOf(proof.header));
        assertEq(post(header).index, 1);
        assertEq(settlement.tipInterval(), FIRST + 1);
        assertEq(settlement.lastPostedAt(), block.timestamp);
    }

    function test_the_previous_digest_counts_in_full() public {
        post(nextHeader(emptyRoot()));
        Messages.Header memory header = nextHeader(emptyRoot());
        bytes32 tip = header.previous;
        VM.warp(block.timestamp + 900);
        VM.startPrank(COORDINATOR);
        // The lowest bit is in no commitment, the highest is.
        header.previous = tip ^ bytes32(uint256(1));
        VM.expectRevert(abi.encodeWithSelector(ISettlement.NotAfterTip.selector, tip));
        settlement.post(header);
        header.previous = tip ^ bytes32(uint256(1) << 255);
        VM.expectRevert(abi.encodeWithSelector(ISettlement.NotAfterTip.selector, tip));
        settlement.post(header);
        header.previous = tip;
        settlement.post(header);
    }

    function test_only_the_coordinator_posts() public {
        Messages.Header memory header = nextHeader(emptyRoot());
        VM.warp((uint256(FIRST) + 1) * 900);
        VM.expectRevert(ISettlement.NotAuthorised.selector);
        settlement.post(header);
    }

    function test_a_header_of_the_future_or_out_of_turn_is_refused() public {
        Messages.Header memory header = nextHeader(emptyRoot());
        VM.startPrank(COORDINATOR);
        VM.warp((uint256(FIRST) + 1) * 900 - 1);
        VM.expectRevert(abi.encodeWithSelector(ISettlement.IntervalNotOver.selector, FIRST));
        settlement.post(header);
        header.interval = type(uint64).max;
        VM.expectRevert(abi.encodeWithSelector(ISettlement.IntervalNotOver.selector, type(uint64).max));
        settlement.post(header);
        header = nextHeader(emptyRoot());
        VM.warp((uint256(FIRST) + 9) * 900);
        settlement.post(header);
        VM.expectRevert(abi.encodeWithSelector(ISettlement.NotAfterTip.selector, digestOf(header)));
        settlement.post(header);
        header = nextHeader(emptyRoot());
        header.interval = FIRST + 2;
        VM.expectRevert(abi.encodeWithSelector(ISettlement.WrongInterval.selector, FIRST + 2));
        settlement.post(header);
    }

    function test_nothing_is_posted_without_its_bond() public {
        VM.prank(GOVERNANCE);
        settlement.releaseBond(1);
        Messages.Header memory header = nextHeader(emptyRoot());
        VM.warp((uint256(FIRST) + 1) * 900);
        VM.prank(COORDINATOR);
        VM.expectRevert(abi.encodeWithSelector(ISettlement.BondTooSmall.selector, BOND - 1));
        settlement.post(header);
    }

    function test_bond_is_locked_while_a_header_is_open() public {
        settlement.postBond(5);
        ISettlement.HeaderProof memory proof = post(nextHeader(emptyRoot()));
        VM.startPrank(GOVERNANCE);
        VM.expectRevert(abi.encodeWithSelector(ISettlement.ExceedsFree.selector, 5));
        settlement.releaseBond(6);
        settlement.releaseBond(5);
        VM.expectRevert(abi.encodeWithSelector(ISettlement.ExceedsFree.selector, 0));
        settlement.releaseBond(1);
        VM.warp(block.timestamp + WINDOW_S);
        settlement.finalise(proof);
        settlement.releaseBond(BOND);
        assertEq(settlement.bondNano(), 0);
        assertEq(token.balanceOf(GOVERNANCE), 1_000_000e9 + BOND + 5);
    }

    function test_a_header_is_final_after_its_window_and_takes_earlier_ones_along() public {
        ISettlement.HeaderProof memory first = post(nextHeader(emptyRoot()));
        ISettlement.HeaderProof memory second = post(nextHeader(bytes32(uint256(5))));
        uint256 untilS = block.timestamp + WINDOW_S;
        VM.warp(untilS - 1);
        VM.expectRevert(abi.encodeWithSelector(ISettlement.StillChallengeable.selector, untilS));
        settlement.finalise(second);
        VM.warp(untilS);
        settlement.finalise(second);
        assertEq(settlement.finalisedCount(), 2);
        assertEq(settlement.finalBalancesRoot(), bytes32(uint256(5)));
        VM.expectRevert(abi.encodeWithSelector(ISettlement.AlreadyFinal.selector, 0));
        settlement.finalise(first);
    }

    function test_courts_are_told_what_stands() public {
        ISettlement.HeaderProof memory proof = post(nextHeader(emptyRoot()));
        settlement.requireOpen(proof);
        settlement.requirePosted(proof);
        VM.expectRevert(abi.encodeWithSelector(ISettlement.NotFinal.selector, 0));
        settlement.requireFinal(proof);
        VM.warp(block.timestamp + WINDOW_S);
        settlement.finalise(proof);
        settlement.requireFinal(proof);
        settlement.requirePosted(proof);
        VM.expectRevert(abi.encodeWithSelector(ISettlement.AlreadyFinal.selector, 0));
        settlement.requireOpen(proof);
        proof.header.dataHash = bytes32(uint256(1));
        VM.expectRevert(abi.encodeWithSelector(ISettlement.UnknownHeader.selector, 0));
        settlement.requireFinal(proof);
        proof.index = 1;
        VM.expectRevert(abi.encodeWithSelector(ISettlement.UnknownHeader.selector, 1));
        settlement.requirePosted(proof);
        VM.expectRevert(abi.encodeWithSelector(ISettlement.UnknownHeader.selector, 1));
        settlement.postedAt(1);
    }

    function test_an_altered_header_is_unknown() public {
        ISettlement.HeaderProof memory proof = post(nextHeader(emptyRoot()));
        VM.warp(block.timestamp + WINDOW_S);
        proof.header.volumeWh = 1;
        VM.expectRevert(abi.encodeWithSelector(ISettlement.UnknownHeader.selector, 0));
        settlement.finalise(proof);
    }

    function test_the_domain_follows_a_fork_of_the_chain() public {
        bytes32 before = settlement.domainSeparator();
        VM.chainId(77);
        assertTrue(settlement.domainSeparator() != before);
    }
}
